"""Rows by key, kept sorted in actors."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any

import narke
from narke.data import blocks as blk
from narke.data import columns

if TYPE_CHECKING:
    from narke.data.dataset import Dataset


class _Shelf:
    """An actor with some of the sorted blocks."""

    def __init__(self, key: str):
        self._key = key
        self._tables: dict[int, Any] = {}
        self._keys: dict[int, list[Any]] = {}
        self._calls = 0

    def put(self, place: int, table: Any) -> None:
        """Keep a block."""
        self._tables[place] = table
        self._keys[place] = columns.to_values(table.column(self._key))

    def get(self, place: int, keys: list[Any]) -> list[Any]:
        """The rows of keys in a block; None for those that are not there."""
        self._calls += 1
        known, table = self._keys[place], self._tables[place]
        found = []
        for key in keys:
            at = bisect.bisect_left(known, key)
            hit = at < len(known) and known[at] == key
            found.append(next(blk.iter_rows(table.slice(at, 1))) if hit else None)
        return found

    def about(self) -> tuple[int, int, int]:
        """Blocks, rows, calls."""
        return len(self._tables), sum(map(len, self._keys.values())), self._calls


class RandomAccessDataset:
    """A dataset sorted by a key, whose rows are looked up in actors; made by `Dataset.to_random_access_dataset`."""

    def __init__(self, ds: Dataset, key: str, num_workers: int):
        whole = ds.sort(key).materialize()
        self._bundles = [b for b in whole._bundles() if b.rows]
        actor = narke.remote(_Shelf).options(num_cpus=0)
        self._actors = [actor.remote(key) for _ in range(max(1, num_workers))]
        narke.get([self._actor(i).put.remote(i, b.ref) for i, b in enumerate(self._bundles)])
        firsts = (narke.get(b.ref).column(key).slice(0, 1) for b in self._bundles)
        self._firsts = [columns.to_values(first)[0] for first in firsts]

    def _actor(self, place: int) -> Any:
        return self._actors[place % len(self._actors)]

    def _place(self, key: Any) -> int | None:
        place = bisect.bisect_right(self._firsts, key) - 1
        return place if place >= 0 else None

    def get_async(self, key: Any) -> Any:
        """A reference to the row of a key, or to None."""
        place = self._place(key)
        if place is None:
            return narke.put(None)
        return _first.remote(self._actor(place).get.remote(place, [key]))

    def multiget(self, keys: list[Any]) -> list[Any]:
        """The rows of keys, in their order; None for those that are not there."""
        by_place: dict[int, list[int]] = {}
        for number, key in enumerate(keys):
            place = self._place(key)
            if place is not None:
                by_place.setdefault(place, []).append(number)
        calls = {
            p: self._actor(p).get.remote(p, [keys[n] for n in numbers]) for p, numbers in by_place.items()
        }
        found: list[Any] = [None] * len(keys)
        for place, numbers in by_place.items():
            for number, row in zip(numbers, narke.get(calls[place]), strict=True):
                found[number] = row
        return found

    def stats(self) -> str:
        """What each actor holds and did."""
        told = narke.get([actor.about.remote() for actor in self._actors])
        lines = (f"actor {i}: {b} blocks, {r} rows, {c} calls" for i, (b, r, c) in enumerate(told))
        return "\n".join(lines)


@narke.remote(num_cpus=0)
def _first(rows: list[Any]) -> Any:
    return rows[0]
