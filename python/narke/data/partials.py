"""The two halves of an aggregation: a small table per block, and the results from all of those."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from narke.data import blocks as blk
from narke.data import columns, grouping
from narke.data.aggregate import AggregateFn, Count, Fast, Groups, reduce_all
from narke.data.blocks import Block


def check_columns(names: list[str], keys: list[str], aggs: list[AggregateFn]) -> None:
    """Raises ValueError when an aggregation or key names a column that there is not."""
    for name in [*keys, *(n for agg in aggs for n in agg.reads() or [])]:
        if name not in names:
            raise ValueError(f"there is no column {name!r} to aggregate; the columns are {names}")


class Partial:
    """From a block to a table with one row a group: the keys, and what each aggregation keeps."""

    __name__ = "PartialAggregate"

    def __init__(self, keys: list[str], aggs: list[AggregateFn]):
        self.keys, self.aggs = keys, aggs

    def __call__(self, block: Block) -> Block:
        if block.num_rows == 0:
            return pa.table({})
        check_columns(block.column_names, self.keys, self.aggs)
        made = self._by_arrow(block)
        slow = [(i, agg) for i, agg in enumerate(self.aggs) if not isinstance(agg, Fast)]
        return self._add_objects(made, block, slow) if slow else made

    def _by_arrow(self, block: Block) -> Block:
        """The parts that Arrow computes, sorted by key."""
        if not self.keys:
            return self._of_all(block)
        wanted: list[Any] = []
        names: list[str] = []
        for name, column, function, options in self._parts():
            wanted.append(([], "count_all") if column is None else (column, function, options))
            names.append(name)
        made = (
            block.group_by(self.keys, use_threads=False)
            .aggregate(wanted)
            .rename_columns([*self.keys, *names])
        )
        return grouping.sort(made, self.keys, [False] * len(self.keys))

    def _of_all(self, block: Block) -> Block:
        made = {}
        for name, column, function, options in self._parts():
            if column is None:
                made[name] = pa.repeat(pa.scalar(block.num_rows), 1)
            else:
                made[name] = reduce_all(block.column(column), function, options)
        return pa.table(made)

    def _parts(self) -> Iterator[tuple[str, str | None, str, Any]]:
        """(name, column, function, options) of each part that Arrow computes."""
        for i, agg in enumerate(self.aggs):
            if not isinstance(agg, Fast):
                continue
            for part, function, options in agg.partials():
                yield _part(i, part), agg.get_target_column(), function, options

    def _add_objects(self, made: Block, block: Block, slow: list[tuple[int, AggregateFn]]) -> Block:
        ordered = grouping.sort(block, self.keys, [False] * len(self.keys)) if self.keys else block
        starts = grouping.group_starts(ordered, self.keys) if self.keys else np.array([0])
        ends = [*starts[1:], ordered.num_rows]
        groups = [ordered.slice(start, end - start) for start, end in zip(starts, ends, strict=True)]
        for i, agg in slow:
            kept = columns.objects_to_arrow([_Kept(agg.start(group)) for group in groups])
            made = (
                made.append_column(_part(i, "o"), kept)
                if made.num_columns
                else pa.table({_part(i, "o"): kept})
            )
        return made


class _Kept:
    """An accumulator; None is one too, so that it is not taken for a null."""

    def __init__(self, value: Any):
        self.value = value


def _part(index: int, part: str) -> str:
    return f"\0{index}.{part}"


def finish(tables: list[Block], keys: list[str], aggs: list[AggregateFn]) -> Block:
    """The results, one row a group in order of the keys, from the tables that `Partial` made."""
    full = [t for t in tables if t.num_rows]
    if not full:
        return _of_nothing(keys, aggs)
    table = blk.whole(blk.concat(full))
    if keys:
        table = grouping.sort(table, keys, [False] * len(keys))
        starts = grouping.group_starts(table, keys)
    else:
        starts = np.array([0])
    ids = np.zeros(table.num_rows, dtype=np.int64)
    ids[starts[1:]] = 1
    groups = Groups(np.cumsum(ids), len(starts))
    made = {key: columns.one_chunk(table.column(key)).take(pa.array(starts)) for key in keys}
    for i, agg in enumerate(aggs):
        made[_free_name(agg.name, made)] = _result(table, i, agg, groups, starts)
    return pa.table(made)


def _free_name(name: str, taken: Any) -> str:
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    return unique


def _result(table: Block, index: int, agg: AggregateFn, groups: Groups, starts: np.ndarray) -> Any:
    if isinstance(agg, Fast):
        parts = {part: table.column(_part(index, part)) for part, _, _ in agg.partials()}
        return agg.final(parts, groups)
    kept = [k.value for k in columns.objects_from_arrow(columns.one_chunk(table.column(_part(index, "o"))))]
    results = []
    for start, end in zip(starts, [*starts[1:], len(kept)], strict=True):
        whole = kept[start]
        for other in kept[start + 1 : end]:
            whole = agg.merge(whole, other)
        results.append(agg.finalize(whole))
    return columns.to_arrow(results)


def _of_nothing(keys: list[str], aggs: list[AggregateFn]) -> Block:
    """The result over no rows: none with keys; without, a count of 0 and null for the rest."""
    if keys:
        return pa.table({})
    return pa.table({agg.name: pa.array([0 if isinstance(agg, Count) else None]) for agg in aggs})
