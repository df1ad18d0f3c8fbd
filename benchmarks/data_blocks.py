"""What a block costs beside its data: pipelines of many tiny blocks, and many small Parquet files.

    python benchmarks/data_blocks.py [--blocks 10000,100000] [--files 2048]

For each number of blocks: a range of as many blocks of ten rows, a function over batches in tasks of its own (two
operators, so that every block is passed on between tasks), and a consumer that only counts. Prints milliseconds of wall
time and of the driver's CPU for each block, and what the driver's and all processes' memory grew by. Then small Parquet
files: listed and counted, and read and summed; `NARKE_BENCH_ENGINE=ray` does the files on the Ray of the interpreter.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent))
import measure

ROWS = 10
FILE_ROWS = 100


def engine() -> Any:
    """The engine under test: Narke, or Ray."""
    if os.environ.get("NARKE_BENCH_ENGINE", "narke") == "ray":
        import ray as chosen
    else:
        import narke as chosen  # type: ignore[no-redef]
    import importlib

    importlib.import_module(f"{chosen.__name__}.data")
    chosen.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    chosen.data.DataContext.get_current().enable_progress_bars = False
    return chosen


def memory_mb() -> tuple[float, float]:
    """Memory (proportional set size) of this process, and of it and all that descend from it."""
    gc.collect()
    me = os.getpid()
    return measure.memory_mb({me}), measure.memory_mb({me, *measure.descendants(me)})


def pipeline(run: Any, blocks: int) -> None:
    """Two operators over tiny blocks."""
    made = run.data.range(blocks * ROWS, override_num_blocks=blocks)
    mapped = made.map_batches(lambda batch: {"id": batch["id"] + 1}, num_cpus=0.5)
    seen = sum(
        bundle.num_rows() if hasattr(bundle, "num_rows") else len(bundle) for bundle in batches(mapped)
    )
    assert seen == blocks * ROWS, seen


def batches(dataset: Any) -> Any:
    """What a consumer sees, block by block."""
    return (batch["id"] for batch in dataset.iter_batches(batch_size=None, batch_format="numpy"))


def measure_blocks(run: Any, blocks: int) -> None:
    """Print a pipeline's figures."""
    before, begun, cpu = memory_mb(), time.perf_counter(), time.process_time()
    pipeline(run, blocks)
    spent_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
    after = memory_mb()
    each = f"{spent_s / blocks * 1e3:7.3f} ms a block, {cpu_s / blocks * 1e3:7.3f} ms of the driver's CPU"
    grown = (
        f"{name} {b - a:+.0f} MB to {b:.0f}"
        for name, a, b in zip(("driver", "all"), before, after, strict=True)
    )
    print(f"{blocks:8d} blocks {spent_s:8.2f} s {each}; {', '.join(grown)}", flush=True)


def write(folder: str, files: int) -> None:
    """Small Parquet files."""
    for i in range(files):
        pq.write_table(
            pa.table({"x": np.arange(FILE_ROWS) + i, "y": np.ones(FILE_ROWS)}), f"{folder}/{i:05}.parquet"
        )


def measure_files(run: Any, folder: str, files: int) -> None:
    """Print the figures of small files."""
    for name, call, want in (
        ("count", lambda ds: ds.count(), files * FILE_ROWS),
        ("sum", lambda ds: ds.sum("y"), files * FILE_ROWS),
    ):
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            assert call(run.data.read_parquet(folder)) == want
            times.append(time.perf_counter() - begun)
        print(f"{files:8d} files {name:6s} first {times[0]:7.2f} s, then {min(times[1:]):7.2f} s", flush=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--blocks", default="10000,100000")
    parser.add_argument("--files", type=int, default=2048)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="data-blocks-") as folder:
        write(folder, args.files)
        run = engine()
        measure_files(run, folder, args.files)
        for blocks in filter(None, args.blocks.split(",")):
            measure_blocks(run, int(blocks))


if __name__ == "__main__":
    main()
