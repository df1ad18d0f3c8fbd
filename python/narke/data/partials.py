"""The two halves of an aggregation: a small table per block, and the results from all of those."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from narke.data import blocks as blk
from narke.data import columns, grouping, kernels
from narke.data.aggregate import AggregateFn, Count, Fast, Groups, Mean, Sum
from narke.data.blocks import Block
from narke.data.formulas import Formula
from narke.data.lazy import LazyBlock
from narke.data.near_names import unknown


def check_columns(names: list[str], keys: list[str], aggs: list[AggregateFn]) -> None:
    """Raises ValueError when an aggregation or key names a column that there is not."""
    for name in [*keys, *(n for agg in aggs for n in agg.reads() or [])]:
        if name not in names:
            raise ValueError(f"cannot aggregate: {unknown([name], names)}")


class Partial:
    """From a block to a table with one row a group: the keys, and what each aggregation keeps."""

    __name__ = "PartialAggregate"

    def __init__(self, keys: list[str], aggs: list[AggregateFn]):
        self.keys, self.aggs = keys, aggs

    @property
    def takes_lazy(self) -> bool:
        """Whether it works on blocks whose columns are not read yet."""
        return all(agg.reads() is not None for agg in self.aggs)

    def needs(self, later: set[str] | None) -> set[str] | None:
        """Columns that it needs; None: all, because an aggregation does not say."""
        reads = [agg.reads() for agg in self.aggs]
        if any(names is None for names in reads):
            return None
        return {*self.keys, *(name for names in reads for name in names or [])}

    def __call__(self, block: Any) -> Block:
        if block.num_rows == 0:
            return pa.table({})
        check_columns(block.column_names, self.keys, self.aggs)
        rows, summed = block.num_rows, self._only_summed(block)
        block = self._needed(block, summed)
        ids, made = grouping.group(block, self.keys) if self.keys else (None, pa.table({}))
        groups = Groups(ids, len(made) if self.keys else 1, rows)
        parts: dict[str, Any] = dict(zip(made.column_names, made.columns, strict=True))
        known: dict[Any, Any] = {None: None, **summed}  # the same object each time, by which sums are shared
        for i, agg in enumerate(self.aggs):
            if isinstance(agg, Fast):
                name = agg.get_target_column()
                if name not in known:
                    known[name] = block.column(name)
                column = known[name]
                for part, values in agg.partial(column, groups).items():
                    parts[_part(i, part)] = values
        self._add_objects(parts, block, groups)
        return pa.table(parts)

    def _only_summed(self, block: Any) -> dict[str, Formula]:
        """Columns of a block that need not be made, because they are formulas of which only the sum is asked for."""
        if self.keys or not isinstance(block, LazyBlock):
            return {}
        others = {name for agg in self.aggs if not isinstance(agg, Sum | Mean) for name in agg.reads() or []}
        found = {name: block.formula(name) for name in self._names() if name not in others}
        return {name: formula for name, formula in found.items() if formula is not None}

    def _names(self) -> list[str]:
        return list(dict.fromkeys([*self.keys, *(n for agg in self.aggs for n in agg.reads() or [])]))

    def _needed(self, block: Any, summed: dict[str, Formula]) -> Block:
        if not isinstance(block, LazyBlock):
            return block
        names = self._names() or block.column_names[:1]
        return block.select([name for name in names if name not in summed]).table()

    def _add_objects(self, parts: dict[str, Any], block: Block, groups: Groups) -> None:
        """What aggregations keep that are the user's own, or that Arrow has no column for."""
        slow = [(i, agg) for i, agg in enumerate(self.aggs) if not isinstance(agg, Fast)]
        if not slow:
            return
        if groups.ids is None:
            tables = [block]
        else:
            tables = [kernels.take(block, rows) for rows in kernels.partition(groups.ids, groups.count)]
        keys = list(itertools.islice(self._keys_of(parts), len(tables)))
        for i, agg in slow:
            started = [agg.start(table, key) for table, key in zip(tables, keys, strict=False)]
            parts[_part(i, "o")] = columns.objects_to_arrow([_Kept(value) for value in started])

    def _keys_of(self, parts: dict[str, Any]) -> Iterable[Any]:
        """The key of each group: a value, a tuple of several columns, None without."""
        found = [columns.to_values(columns.one_chunk(parts[key])) for key in self.keys]
        return (
            itertools.repeat(None) if not found else found[0] if len(found) == 1 else zip(*found, strict=True)
        )


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
    ids, found = grouping.group(table, keys) if keys else (None, pa.table({}))
    groups = Groups(ids, len(found) if keys else 1, table.num_rows)
    made = {key: columns.one_chunk(found.column(key)) for key in keys}
    for i, agg in enumerate(aggs):
        made[_free_name(agg.name, made)] = _result(table, i, agg, groups)
    result = pa.table(made)
    return grouping.sort(result, keys, [False] * len(keys)) if keys else result


def _free_name(name: str, taken: Any) -> str:
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    return unique


def _result(table: Block, index: int, agg: AggregateFn, groups: Groups) -> Any:
    if isinstance(agg, Fast):
        prefix = _part(index, "")
        parts = {n[len(prefix) :]: table.column(n) for n in table.column_names if n.startswith(prefix)}
        return agg.final(parts, groups)
    kept = [k.value for k in columns.objects_from_arrow(columns.one_chunk(table.column(_part(index, "o"))))]
    ids = np.zeros(len(kept), np.uint32) if groups.ids is None else groups.ids
    whole: dict[int, Any] = {}
    for place, value in zip(ids.tolist(), kept, strict=True):
        whole[place] = agg.merge(whole[place], value) if place in whole else value
    return columns.to_arrow([agg.finalize(whole[place]) for place in range(groups.count)])


def _of_nothing(keys: list[str], aggs: list[AggregateFn]) -> Block:
    """The result over no rows: none with keys; without, a count of 0 and null for the rest."""
    if keys:
        return pa.table({})
    return pa.table({agg.name: pa.array([0 if isinstance(agg, Count) else None]) for agg in aggs})
