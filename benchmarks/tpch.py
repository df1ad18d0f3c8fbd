"""Queries 1, 3, 6 and 9 like TPC-H's, over tables of its shape, on narke.data and beside it on DuckDB.

    python benchmarks/tpch.py [--scale 1] [--rounds 3] [--folder DIR] [--only q1,q6]

Generates the tables as Parquet (kept in --folder, if given), runs each query on each engine in turns, with as many
threads
as there are CPUs, compares the results, and prints the median seconds and ratios. The data is not the official
generator's,
so neither are the figures.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FILES = 8
FIRST, LAST = np.datetime64("1992-01-01"), np.datetime64("1998-08-02")
WORDS = np.array(
    "almond antique aquamarine azure beige blue chocolate cream forest green ivory khaki lemon".split()
)
NATIONS = [f"NATION {i:02}" for i in range(25)]
SEGMENTS = np.array(["AUTOMOBILE", "BUILDING", "FURNITURE", "HOUSEHOLD", "MACHINERY"])


def picked(rng: np.random.Generator, values: np.ndarray, rows: int) -> pa.Array:
    """Values by chance, as text."""
    return pa.DictionaryArray.from_arrays(rng.integers(0, len(values), rows, np.int32), values).cast(
        pa.string()
    )


def days(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Days between the first and the last order."""
    return FIRST + rng.integers(0, (LAST - FIRST).astype(int), rows)


def tables(scale: float, seed: int = 0) -> dict[str, pa.Table]:
    """The tables of a scale; 1 has 6,000,000 lines of orders."""
    rng = np.random.default_rng(seed)
    orders, parts, suppliers, customers = (int(n * scale) for n in (1_500_000, 200_000, 10_000, 150_000))
    lines = 4 * orders
    dates = days(rng, orders)
    own = np.repeat(np.arange(orders), 4)
    shipped = dates[own] + rng.integers(1, 122, lines)
    part = rng.integers(0, parts, lines)
    lineitem = pa.table(
        {
            "l_orderkey": own,
            "l_partkey": part,
            "l_suppkey": (part + rng.integers(0, 4, lines) * (suppliers // 4)) % suppliers,
            "l_quantity": rng.integers(1, 51, lines).astype(float),
            "l_extendedprice": rng.uniform(900, 105_000, lines).round(2),
            "l_discount": rng.integers(0, 11, lines) / 100,
            "l_tax": rng.integers(0, 9, lines) / 100,
            "l_returnflag": picked(rng, np.array(["A", "N", "R"]), lines),
            "l_linestatus": picked(rng, np.array(["F", "O"]), lines),
            "l_shipdate": pa.array(shipped),
        }
    )
    return {"lineitem": lineitem, **_small(rng, orders, parts, suppliers, customers, dates)}


def _small(
    rng: Any, orders: int, parts: int, suppliers: int, customers: int, dates: Any
) -> dict[str, pa.Table]:
    names = [picked(rng, WORDS, parts) for _ in range(3)]
    pairs = np.repeat(np.arange(parts), 4)
    each = np.tile(np.arange(4), parts) * (suppliers // 4)
    return {
        "orders": pa.table(
            {
                "o_orderkey": np.arange(orders),
                "o_custkey": rng.integers(0, customers, orders),
                "o_orderdate": pa.array(dates),
                "o_shippriority": np.zeros(orders, np.int64),
            }
        ),
        "customer": pa.table(
            {"c_custkey": np.arange(customers), "c_mktsegment": picked(rng, SEGMENTS, customers)}
        ),
        "part": pa.table(
            {"p_partkey": np.arange(parts), "p_name": pa.compute.binary_join_element_wise(*names, " ")}
        ),
        "supplier": pa.table(
            {"s_suppkey": np.arange(suppliers), "s_nationkey": rng.integers(0, 25, suppliers)}
        ),
        "partsupp": pa.table(
            {
                "ps_partkey": pairs,
                "ps_suppkey": (pairs + each) % suppliers,
                "ps_supplycost": rng.uniform(1, 1000, 4 * parts).round(2),
            }
        ),
        "nation": pa.table({"n_nationkey": np.arange(25), "n_name": NATIONS}),
    }


def write(folder: str, scale: float) -> None:
    """Write the tables of a scale into a folder, the large ones in several files."""
    for name, table in tables(scale).items():
        count = FILES if name in ("lineitem", "orders") else 1
        os.makedirs(f"{folder}/{name}", exist_ok=True)
        step = math.ceil(table.num_rows / count)
        for i in range(count):
            pq.write_table(table.slice(i * step, step), f"{folder}/{name}/{i}.parquet")


SQL = {
    "q1": """select l_returnflag, l_linestatus, sum(l_quantity), sum(l_extendedprice),
        sum(l_extendedprice * (1 - l_discount)), sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)),
        avg(l_quantity), avg(l_extendedprice), avg(l_discount), count(*) from lineitem
        where l_shipdate <= date '1998-09-02' group by all order by 1, 2""",
    "q3": """select l_orderkey, sum(l_extendedprice * (1 - l_discount)) revenue, o_orderdate, o_shippriority
        from customer join orders on c_custkey = o_custkey join lineitem on l_orderkey = o_orderkey
        where c_mktsegment = 'BUILDING' and o_orderdate < date '1995-03-15' and l_shipdate > date '1995-03-15'
        group by l_orderkey, o_orderdate, o_shippriority order by revenue desc limit 10""",
    "q6": """select sum(l_extendedprice * l_discount) from lineitem where l_shipdate >= date '1994-01-01'
        and l_shipdate < date '1995-01-01' and l_discount between 0.05 and 0.07 and l_quantity < 24""",
    "q9": """select n_name, year(o_orderdate) y,
        sum(l_extendedprice * (1 - l_discount) - ps_supplycost * l_quantity) profit
        from lineitem join part on p_partkey = l_partkey join supplier on s_suppkey = l_suppkey
        join partsupp on ps_partkey = l_partkey and ps_suppkey = l_suppkey join orders on o_orderkey = l_orderkey
        join nation on n_nationkey = s_nationkey where p_name like '%green%' group by all order by 1, 2""",
}


def date(text: str) -> Any:
    """A day as an expression."""
    from narke.data.expressions import lit

    return lit(datetime.date.fromisoformat(text))


def q1(read: Callable[[str], Any]) -> list[tuple[Any, ...]]:
    """Sums of lines by flag and status."""
    from narke.data.aggregate import Count, Mean, Sum
    from narke.data.expressions import col

    price = col("l_extendedprice") * (1 - col("l_discount"))
    rows = read("lineitem").filter(expr=col("l_shipdate") <= date("1998-09-02"))
    rows = rows.with_column("disc", price).with_column("charge", col("disc") * (1 + col("l_tax")))
    sums = [Sum("l_quantity"), Sum("l_extendedprice"), Sum("disc"), Sum("charge")]
    means = [Mean("l_quantity"), Mean("l_extendedprice"), Mean("l_discount")]
    found = rows.groupby(["l_returnflag", "l_linestatus"]).aggregate(*sums, *means, Count())
    return [tuple(row.values()) for row in found.iter_rows()]


def q3(read: Callable[[str], Any]) -> list[tuple[Any, ...]]:
    """Orders not shipped yet of one segment, the dearest first."""
    from narke.data.expressions import col

    customers = read("customer").filter(expr=col("c_mktsegment") == "BUILDING").select_columns(["c_custkey"])
    orders = read("orders").filter(expr=col("o_orderdate") < date("1995-03-15"))
    orders = orders.join(customers, "left_semi", FILES, on=("o_custkey",), right_on=("c_custkey",))
    lines = read("lineitem").filter(expr=col("l_shipdate") > date("1995-03-15"))
    lines = lines.with_column("revenue", col("l_extendedprice") * (1 - col("l_discount")))
    lines = lines.select_columns(["l_orderkey", "revenue"])
    found = lines.join(orders, "inner", FILES, on=("l_orderkey",), right_on=("o_orderkey",))
    found = found.groupby(["l_orderkey", "o_orderdate", "o_shippriority"]).sum("revenue")
    top = found.sort("sum(revenue)", descending=True).limit(10)
    names = ("l_orderkey", "sum(revenue)", "o_orderdate", "o_shippriority")
    return [tuple(row[name] for name in names) for row in top.iter_rows()]


def q6(read: Callable[[str], Any]) -> list[tuple[Any, ...]]:
    """What some discounts of one year cost."""
    from narke.data.expressions import col

    day = col("l_shipdate")
    chosen = (day >= date("1994-01-01")) & (day < date("1995-01-01")) & (col("l_quantity") < 24)
    chosen = chosen & (col("l_discount") >= 0.05) & (col("l_discount") <= 0.07)
    rows = read("lineitem").filter(expr=chosen)
    return [(rows.with_column("lost", col("l_extendedprice") * col("l_discount")).sum("lost"),)]


def q9(read: Callable[[str], Any]) -> list[tuple[Any, ...]]:
    """Profit on green parts by nation and year."""
    from narke.data.expressions import col

    parts = read("part").filter(expr=col("p_name").str.contains("green")).select_columns(["p_partkey"])
    lines = read("lineitem").join(parts, "left_semi", FILES, on=("l_partkey",), right_on=("p_partkey",))
    suppliers = read("supplier").join(
        read("nation"), "inner", 1, on=("s_nationkey",), right_on=("n_nationkey",)
    )
    costs = read("partsupp").join(parts, "left_semi", FILES, on=("ps_partkey",), right_on=("p_partkey",))
    lines = lines.join(suppliers, "inner", FILES, on=("l_suppkey",), right_on=("s_suppkey",))
    keys = {"on": ("l_partkey", "l_suppkey"), "right_on": ("ps_partkey", "ps_suppkey")}
    lines = lines.join(costs, "inner", FILES, **keys)
    orders = read("orders").select_columns(["o_orderkey", "o_orderdate"])
    lines = lines.join(orders, "inner", FILES, on=("l_orderkey",), right_on=("o_orderkey",))
    gain = col("l_extendedprice") * (1 - col("l_discount")) - col("ps_supplycost") * col("l_quantity")
    lines = lines.with_column("year", col("o_orderdate").dt.year()).with_column("profit", gain)
    found = lines.groupby(["n_name", "year"]).sum("profit")
    return [tuple(row.values()) for row in found.iter_rows()]


COLUMNS = {
    "q9": {"lineitem": "l_orderkey l_partkey l_suppkey l_quantity l_extendedprice l_discount".split()},
    "q3": {"lineitem": "l_orderkey l_extendedprice l_discount l_shipdate".split()},
    "q6": {"lineitem": "l_extendedprice l_discount l_quantity l_shipdate".split()},
}


def reader(folder: str, query: str) -> Callable[[str], Any]:
    """From a table's name to its dataset, with the columns that a query names."""
    import narke.data

    def read(name: str) -> Any:
        return narke.data.read_parquet(f"{folder}/{name}", columns=COLUMNS.get(query, {}).get(name))

    return read


def duck(folder: str) -> Any:
    """A DuckDB connection that sees the tables."""
    import duckdb

    connection = duckdb.connect(config={"threads": os.cpu_count() or 1})
    for name in os.listdir(folder):
        connection.execute(f"create view {name} as select * from '{folder}/{name}/*.parquet'")
    return connection


def same(got: list[tuple[Any, ...]], want: list[tuple[Any, ...]]) -> bool:
    """Whether results are equal, but for rounding."""
    flat = [(g, w) for a, b in zip(got, want, strict=True) for g, w in zip(a, b, strict=True)]
    return all(math.isclose(g, w, rel_tol=1e-6) if isinstance(w, float) else g == w for g, w in flat)


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and what it gives."""
    begun = time.perf_counter()
    made = run()
    return time.perf_counter() - begun, made


def measure(folder: str, names: list[str], rounds: int) -> None:
    """Print the table of figures."""
    queries = {"q1": q1, "q3": q3, "q6": q6, "q9": q9}
    peer = duck(folder)
    print(f"{'query':6s} {'narke s':>9s} {'duckdb s':>9s} {'ratio':>7s}")
    for name in names:
        pairs = []
        for _ in range(rounds + 1):  # the first starts workers and warms the disk's cache, and does not count
            own_s, got = timed(lambda name=name: queries[name](reader(folder, name)))  # type: ignore[misc]
            peer_s, want = timed(lambda name=name: peer.execute(SQL[name]).fetchall())  # type: ignore[misc]
            assert same(got, want), f"{name}: {got[:2]} is not {want[:2]}"
            pairs.append((own_s, peer_s))
        own, other = (statistics.median(side) for side in zip(*pairs[1:], strict=True))
        ratio = statistics.median(a / b for a, b in pairs[1:])
        print(f"{name:6s} {own:9.3f} {other:9.3f} {ratio:6.2f}x", flush=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder")
    parser.add_argument("--only", default="q1,q3,q6,q9")
    args = parser.parse_args()
    import narke

    with tempfile.TemporaryDirectory(prefix="tpch-") as own:
        folder = args.folder or own
        if not os.path.isdir(f"{folder}/nation"):
            write(folder, args.scale)
        narke.init(log_to_driver=False)
        narke.data.DataContext.get_current().enable_progress_bars = False
        measure(folder, args.only.split(","), args.rounds)


if __name__ == "__main__":
    main()
