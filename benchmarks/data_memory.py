"""Datasets much larger than the object store: how much memory all processes take, and how fast it goes.

    python benchmarks/data_memory.py [--gb 20] [--store-gb 1] [--folder DIR] [--only map_group_write,sort]

Generates a Parquet set of so many decoded gigabytes (about a third of that on disk: measures have two decimals), then
runs it through operators with a small store, and prints seconds, MB/s of decoded data, the peak of the memory of all
processes (proportional set size, in which shared pages, the store among them, count once), and what they read from and
wrote to files. Before that, the rate at which this machine's disk takes and gives back files of a gigabyte. Needs as
much free disk as the set is large when decoded, a sort twice as much; what it wrote is deleted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent))
import measure

ROWS = 2_000_000
ROW_BYTES = 48
PRICES = 60_000
DISK_BYTES = 1_000_000_000


def write(folder: str, gigabytes: float) -> int:
    """Write the set; gives the number of its rows."""
    files = max(1, round(gigabytes * 1e9 / (ROWS * ROW_BYTES)))
    rng = np.random.default_rng(0)
    for i in range(files):
        keys = {"id": np.arange(i * ROWS, (i + 1) * ROWS), "key": rng.integers(0, 1000, ROWS)}
        numbers = {name: rng.integers(0, PRICES, ROWS) / 100 for name in "abcd"}
        pq.write_table(pa.table({**keys, **numbers}), f"{folder}/{i:05}.parquet", row_group_size=ROWS // 4)
    return files * ROWS


def disk_mb_s(folder: str) -> tuple[float, float]:
    """Rates at which a file is written and forced to the disk, and read again after it has left memory."""
    chunk, path = os.urandom(1 << 24), f"{folder}/rate"
    begun = time.perf_counter()
    with open(path, "wb") as file:
        for _ in range(DISK_BYTES // len(chunk)):
            file.write(chunk)
        os.fsync(file.fileno())
    wrote_s, begun = time.perf_counter() - begun, time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        begun = time.perf_counter()
        while file.read(1 << 24):
            pass
    read_s = time.perf_counter() - begun
    os.unlink(path)
    return DISK_BYTES / 1e6 / wrote_s, DISK_BYTES / 1e6 / read_s


def bytes_in(folder: str) -> int:
    """Bytes of all files of a folder."""
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


class Peak:
    """The most memory that this process and its descendants take while a `with` block runs, in MB."""

    def __enter__(self) -> Peak:
        self.mb, self._ended = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._ended.wait(0.2):
            family = {os.getpid(), *measure.descendants(os.getpid())}
            self.mb = max(self.mb, measure.memory_mb(family))

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()


def map_group_write(source: str, target: str, rows: int) -> None:
    """A function over batches, sums by key, and the mapped rows written."""
    import narke.data

    def features(batch: dict[str, Any]) -> dict[str, Any]:
        return {**batch, "e": batch["a"] / (batch["b"] + 0.1)}

    mapped = narke.data.read_parquet(source).map_batches(features)
    assert mapped.groupby("key").mean("e").count() == 1000
    mapped.write_parquet(target)
    assert narke.data.read_parquet(target).count() == rows


def sort(source: str, target: str, rows: int) -> None:
    """Rows in order of a random number, written."""
    import narke.data

    narke.data.read_parquet(source).sort("a").write_parquet(target)
    assert narke.data.read_parquet(target).count() == rows


RUNS: dict[str, Callable[[str, str, int], None]] = {"map_group_write": map_group_write, "sort": sort}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gb", type=float, default=20.0)
    parser.add_argument("--store-gb", type=float, default=1.0)
    parser.add_argument("--folder")
    parser.add_argument("--only", default=",".join(RUNS))
    args = parser.parse_args()
    import narke

    with tempfile.TemporaryDirectory(prefix="data-memory-", dir=args.folder) as folder:
        os.makedirs(f"{folder}/in")
        rows = write(f"{folder}/in", args.gb)
        print(f"{bytes_in(f'{folder}/in') / 1e6:.0f} MB of files; the disk writes and reads (MB/s):", end=" ")
        print(*(f"{rate:.0f}" for rate in disk_mb_s(folder)), flush=True)
        narke.init(object_store_memory=int(args.store_gb * 2**30), log_to_driver=False)
        narke.data.DataContext.get_current().enable_progress_bars = False
        for name in args.only.split(","):
            with Peak() as peak:
                begun = time.perf_counter()
                RUNS[name](f"{folder}/in", f"{folder}/out", rows)
                spent_s = time.perf_counter() - begun
            size_mb = rows * ROW_BYTES / 1e6
            print(f"{name:16s} {spent_s:8.1f} s {size_mb / spent_s:8.1f} MB/s {peak.mb:8.0f} MB", flush=True)
            shutil.rmtree(f"{folder}/out")


if __name__ == "__main__":
    main()
