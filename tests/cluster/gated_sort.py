"""A sort that stands still between its partitions and its merges, and a driver that runs it."""

from __future__ import annotations

import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import narke
from narke.data.exchange import Sort

ROWS, BLOCKS = 400_000, 16
DEADLINE_S = 90


class Gated:
    """An exchange that merges all partitions but the first only when a file is there."""

    gate = ""

    def behind(self, gate: pathlib.Path) -> Any:
        """The same exchange, with the file that it waits for."""
        self.gate = str(gate)
        return self

    def merge(self, shared: Any, index: int, parts: list[Any]) -> Iterator[Any]:
        end = time.monotonic() + DEADLINE_S
        while index > 0 and not pathlib.Path(self.gate).exists():
            assert time.monotonic() < end, "nobody opened the gate"
            time.sleep(0.01)
        yield from super().merge(shared, index, parts)  # type: ignore[misc]


class GatedSort(Gated, Sort):
    """See `Gated`."""


def scattered(batch: dict[str, Any]) -> dict[str, Any]:
    """Each number once, in no order, and what belongs to it."""
    place = batch["id"] * 7919 % ROWS
    return {"x": place, "y": place * 0.5, "t": np.array([f"row {n}" for n in place])}


def sort_and_check(gate: pathlib.Path, in_the_middle: Callable[[], None]) -> None:
    """Sort; when the first merged block is there, call a function and open the gate; then check every row."""
    narke.data.DataContext.get_current().enable_progress_bars = False
    made = narke.data.range(ROWS, override_num_blocks=BLOCKS).map_batches(scattered)
    seen = 0
    for batch in made._gathered(GatedSort(["x"], [False]).behind(gate)).iter_batches(
        batch_size=None, prefetch_batches=0
    ):
        if seen == 0:
            in_the_middle()
            gate.touch()
        rows = np.arange(seen, seen + len(batch["x"]))
        assert np.array_equal(batch["x"], rows) and np.array_equal(batch["y"], rows * 0.5)
        assert batch["t"][-1] == f"row {rows[-1]}"
        seen += len(rows)
    assert seen == ROWS, seen


def main() -> None:
    """A driver at an address, which says when the first block is there and waits for a line."""

    def in_the_middle() -> None:
        print("ready", flush=True)
        sys.stdin.readline()

    narke.init(address=sys.argv[1], log_to_driver=False)
    sort_and_check(pathlib.Path(sys.argv[2]), in_the_middle)
    print("exact", flush=True)


if __name__ == "__main__":
    import gated_sort  # so that workers find what is pickled by its name

    gated_sort.main()
