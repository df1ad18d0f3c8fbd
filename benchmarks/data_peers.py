"""The rows of narke.data beside Polars, DuckDB, Dask and Daft, in turns in one process.

    python benchmarks/data_peers.py [--rounds 5] [--only groupby,sort] [--peers polars,dask]

Every engine gets the same files and as many threads as there are CPUs, checks its result, and runs each row once before
it counts. Prints millions of rows a second (medians), and the median of Narke's figure over the peer's in each round.
Peers that are not installed are left out. `map_sum` is a Python function over batches for Narke and an expression for
the others; `map_sum_expr` is an expression for all.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

THREADS = os.cpu_count() or 1
os.environ.setdefault("POLARS_MAX_THREADS", str(THREADS))

RANGE_ROWS, GROUP_ROWS, SORT_ROWS = 20_000_000, 8_000_000, 4_000_000
HOURS = 24

Row = Callable[[str], float]


def write(folder: str, rows: int, files: int) -> None:
    """Files of a table like that of taxi trips."""
    os.makedirs(folder)
    count = rows // files
    for i in range(files):
        rng = np.random.default_rng(i)
        table = {
            "trip": np.arange(count),
            "passengers": rng.integers(1, 7, count),
            "zone": rng.integers(0, 265, count),
            "fare": rng.gamma(2.0, 7.0, count),
            "distance": rng.gamma(1.5, 2.0, count),
            "pickup": rng.integers(1_622_500_000, 1_625_100_000, count),
            "flag": pa.array(np.array(["N", "Y"])[rng.integers(0, 2, count)]),
        }
        pq.write_table(pa.table(table), f"{folder}/part-{i:03d}.parquet")


def _in_order(fares: Any) -> None:
    assert len(fares) == SORT_ROWS and np.all(np.diff(np.asarray(fares)) >= 0)


def _is_sum(total: Any) -> None:
    assert total == RANGE_ROWS**2, total


def narke_map_sum(folder: str) -> None:
    """A function over batches."""
    import narke.data

    _is_sum(narke.data.range(RANGE_ROWS).map_batches(lambda b: {"id": b["id"] * 2 + 1}).sum("id"))


def narke_map_sum_expr(folder: str) -> None:
    """An expression."""
    import narke.data
    from narke.data.expressions import col

    _is_sum(narke.data.range(RANGE_ROWS).with_column("id", col("id") * 2 + 1).sum("id"))


def narke_groupby(folder: str) -> None:
    """Features by a function over batches, then means by hour."""
    import narke.data

    def features(b: Any) -> Any:
        b["hour"] = (b["pickup"] // 3600) % 24
        b["per_mile"] = b["fare"] / (b["distance"] + 0.1)
        return b

    rows = narke.data.read_parquet(f"{folder}/group").map_batches(features)
    assert len(rows.groupby("hour").mean(["fare", "per_mile"]).take_all()) == HOURS


def narke_sort(folder: str) -> None:
    """All rows by fare, given to the driver."""
    import narke.data

    sorted_rows = narke.data.read_parquet(f"{folder}/sort").sort("fare")
    fares = [b["fare"] for b in sorted_rows.iter_batches(batch_size=None, batch_format="numpy")]
    _in_order(np.concatenate(fares))


def polars_map_sum(folder: str) -> None:
    """See `narke_map_sum_expr`."""
    import polars as pl

    numbers = pl.select(pl.int_range(0, RANGE_ROWS).alias("id")).lazy()
    _is_sum(numbers.select((pl.col("id") * 2 + 1).sum()).collect().item())


def polars_groupby(folder: str) -> None:
    """See `narke_groupby`."""
    import polars as pl

    hour = ((pl.col("pickup") // 3600) % 24).alias("hour")
    per_mile = (pl.col("fare") / (pl.col("distance") + 0.1)).alias("per_mile")
    rows = pl.scan_parquet(f"{folder}/group/*.parquet").with_columns(hour, per_mile)
    means = rows.group_by("hour").agg(pl.mean("fare"), pl.mean("per_mile"))
    assert means.collect(engine="streaming").height == HOURS


def polars_sort(folder: str) -> None:
    """See `narke_sort`."""
    import polars as pl

    rows = pl.scan_parquet(f"{folder}/sort/*.parquet").sort("fare")
    _in_order(rows.collect(engine="streaming")["fare"].to_numpy())


def duckdb_groupby(folder: str) -> None:
    """See `narke_groupby`."""
    import duckdb

    query = (
        "select (pickup // 3600) % 24 as hour, avg(fare), avg(fare / (distance + 0.1)) from '{}' group by 1"
    )
    found = duckdb.connect(config={"threads": THREADS}).execute(query.format(f"{folder}/group/*.parquet"))
    assert len(found.fetchall()) == HOURS


def duckdb_sort(folder: str) -> None:
    """See `narke_sort`."""
    import duckdb

    query = f"select * from '{folder}/sort/*.parquet' order by fare"
    _in_order(duckdb.connect(config={"threads": THREADS}).execute(query).fetchnumpy()["fare"])


def dask_map_sum(folder: str) -> None:
    """See `narke_map_sum_expr`."""
    import dask
    import dask.array as da

    with dask.config.set(scheduler="threads", num_workers=THREADS):
        _is_sum(int((da.arange(RANGE_ROWS) * 2 + 1).sum().compute()))


def dask_groupby(folder: str) -> None:
    """See `narke_groupby`."""
    import dask
    import dask.dataframe as dd

    with dask.config.set(scheduler="threads", num_workers=THREADS):
        rows = dd.read_parquet(f"{folder}/group")
        rows = rows.assign(hour=rows.pickup // 3600 % 24, per_mile=rows.fare / (rows.distance + 0.1))
        assert len(rows.groupby("hour")[["fare", "per_mile"]].mean().compute()) == HOURS


def dask_sort(folder: str) -> None:
    """See `narke_sort`."""
    import dask
    import dask.dataframe as dd

    with dask.config.set(scheduler="threads", num_workers=THREADS):
        _in_order(dd.read_parquet(f"{folder}/sort").sort_values("fare").compute()["fare"].to_numpy())


def daft_map_sum(folder: str) -> None:
    """See `narke_map_sum_expr`."""
    import daft

    made = daft.range(RANGE_ROWS).select((daft.col("id") * 2 + 1).alias("id")).sum("id").to_pydict()
    _is_sum(made["id"][0])


def daft_groupby(folder: str) -> None:
    """See `narke_groupby`."""
    import daft

    col = daft.col
    rows = daft.read_parquet(f"{folder}/group/*.parquet").with_column("hour", col("pickup") // 3600 % 24)
    rows = rows.with_column("per_mile", col("fare") / (col("distance") + 0.1))
    assert (
        len(rows.groupby("hour").agg(col("fare").mean(), col("per_mile").mean()).to_pydict()["hour"]) == HOURS
    )


def daft_sort(folder: str) -> None:
    """See `narke_sort`."""
    import daft

    _in_order(daft.read_parquet(f"{folder}/sort/*.parquet").sort("fare").to_arrow().column("fare"))


ROWS: dict[str, tuple[int, Row | Any, dict[str, Any]]] = {
    "map_sum": (
        RANGE_ROWS,
        narke_map_sum,
        {"polars": polars_map_sum, "dask": dask_map_sum, "daft": daft_map_sum},
    ),
    "map_sum_expr": (RANGE_ROWS, narke_map_sum_expr, {"polars": polars_map_sum}),
    "groupby": (
        GROUP_ROWS,
        narke_groupby,
        {"polars": polars_groupby, "duckdb": duckdb_groupby, "dask": dask_groupby, "daft": daft_groupby},
    ),
    "sort": (
        SORT_ROWS,
        narke_sort,
        {"polars": polars_sort, "duckdb": duckdb_sort, "dask": dask_sort, "daft": daft_sort},
    ),
}


def seconds(run: Any, folder: str) -> float:
    """Seconds that a row takes."""
    begun = time.perf_counter()
    run(folder)
    return time.perf_counter() - begun


def measure(folder: str, name: str, peers: list[str], rounds: int) -> None:
    """Print a row's figures."""
    rows, own, others = ROWS[name]
    chosen = {peer: run for peer, run in others.items() if peer in peers}
    for run in (own, *chosen.values()):
        run(folder)
    times = [[seconds(run, folder) for run in (own, *chosen.values())] for _ in range(rounds)]
    print(f"{name:14s} narke  {rows / 1e6 / statistics.median(t[0] for t in times):9.2f} Mrows/s", flush=True)
    for place, peer in enumerate(chosen, 1):
        rate = rows / 1e6 / statistics.median(t[place] for t in times)
        ratio = statistics.median(t[place] / t[0] for t in times)
        print(f"{'':14s} {peer:6s} {rate:9.2f} Mrows/s, Narke {ratio:.2f}x of it", flush=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(ROWS))
    parser.add_argument("--peers", default="polars,duckdb,dask,daft")
    args = parser.parse_args()
    import narke

    peers = [peer for peer in args.peers.split(",") if importlib.util.find_spec(peer)]
    with tempfile.TemporaryDirectory(prefix="data-peers-") as folder:
        write(f"{folder}/group", GROUP_ROWS, 16)
        write(f"{folder}/sort", SORT_ROWS, 8)
        narke.init(log_to_driver=False)
        narke.data.DataContext.get_current().enable_progress_bars = False
        for name in args.only.split(","):
            measure(folder, name, peers, args.rounds)


if __name__ == "__main__":
    main()
