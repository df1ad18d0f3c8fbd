"""Rows by key: hashes, order, and the bounds of groups. All vectorised."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from narke.data import blocks as blk
from narke.data import columns, kernels
from narke.data.blocks import Block


def hash_rows(block: Block, keys: list[str]) -> np.ndarray:
    """A 64-bit hash a row, the same in every process; equal numbers hash alike whatever their width."""
    hashes = np.zeros(block.num_rows, dtype=np.uint64)
    for key in keys:
        column = columns.one_chunk(block.column(key))
        if block.num_rows and not kernels.hash_column(column, hashes):
            kernels.hash_column(_hashable(column), hashes)
    return hashes


def _hashable(column: Any) -> pa.Array:
    """A column that the kernels can hash, of one whose type they have no layout for."""
    if pa.types.is_boolean(column.type) or pa.types.is_null(column.type):
        return column.cast(pa.int8())
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return pa.array([repr(value) for value in columns.to_values(column)], pa.large_string())


def split_by_id(block: Block, ids: np.ndarray, count: int) -> list[Block]:
    """The rows of each of `count` ids, in order."""
    return [kernels.take(block, rows) for rows in kernels.partition(ids, count)]


def sort_options(keys: list[str], descending: list[bool]) -> list[tuple[str, str]]:
    """Arrow's form of sort keys."""
    return [(key, "descending" if down else "ascending") for key, down in zip(keys, descending, strict=True)]


def sort(block: Block, keys: list[str], descending: list[bool]) -> Block:
    """The rows in order; nulls last."""
    if block.num_rows < 2:
        return block
    return blk.take(block, order_of(block, keys, descending))


def order_of(block: Block, keys: list[str], descending: list[bool]) -> Any:
    """Indices that put the rows in order; NaN and then nulls last."""
    plain = plain_key(block, keys)
    if plain is not None:
        ascending = np.argsort(plain)
        return ascending[::-1] if descending[0] else ascending
    parts = [columns.one_chunk(block.column(key)) for key in keys]
    order: Any = kernels.sort_order(list(zip(parts, descending, strict=True)))
    if order is None:
        order = pc.sort_indices(block.select(keys), sort_keys=sort_options(keys, descending))
    return order


def plain_key(block: Block, keys: list[str]) -> np.ndarray | None:
    """The key as numbers, when it is one column of them without nulls and NaN; numpy sorts those fastest."""
    if len(keys) != 1 or block.column(keys[0]).null_count:
        return None
    kind = block.schema.field(keys[0]).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return None
    values = columns.to_numpy(block.column(keys[0]))
    if values.dtype.kind == "f" and np.isnan(values).any():
        return None
    return values


def partition_of(block: Block, bounds: Block, keys: list[str], descending: list[bool]) -> np.ndarray:
    """For each row, how many of the sorted `bounds` are not after it."""
    if len(keys) == 1 and block.num_rows:
        values, edges = (columns.one_chunk(b.column(keys[0])) for b in (block, bounds))
        if values.type == getattr(edges, "type", None) and isinstance(edges, pa.Array):
            found = kernels.range_ids(values, edges, descending[0])
            if found is not None:
                return found
    return _partition_any(block, bounds, keys, descending)


def among(column: pa.ChunkedArray, values: pa.ChunkedArray) -> np.ndarray:
    """For each number of a column whether (1, 0) it is one of others, of whatever type."""
    if pa.types.is_floating(column.type):
        values = values.cast(column.type)
    else:
        column = column.cast(values.type)
    return np.asarray(pc.is_in(column, value_set=columns.one_chunk(values))).astype(np.uint32)


def _partition_any(block: Block, bounds: Block, keys: list[str], descending: list[bool]) -> np.ndarray:
    """For keys of any types: sort rows and bounds together, then count the bounds before each row."""
    both = blk.concat([bounds.select(keys), block.select(keys)])
    order = np.asarray(pc.sort_indices(both, sort_keys=sort_options(keys, descending)))
    is_bound = order < bounds.num_rows
    before = np.cumsum(is_bound)
    ids = np.empty(block.num_rows, dtype=np.int64)
    ids[order[~is_bound] - bounds.num_rows] = before[~is_bound]
    return ids


def group(block: Block, keys: list[str]) -> tuple[np.ndarray, Block]:
    """The group of each row (32 bits), and a table with the keys of each group, in no order of theirs."""
    coded = [_coded(columns.one_chunk(block.column(key))) for key in keys]
    if len(keys) == 1 and coded[0].tight:
        return coded[0].codes.astype(np.uint32), pa.table({keys[0]: coded[0].values})
    sizes = [max(1, len(column.values)) for column in coded]
    count = math.prod(sizes)
    if count > 2**62:
        return _group_by_rows(block, keys)
    width: Any = np.int32 if count <= SMALL_RANGE else np.int64
    codes, below = coded[0].codes.astype(width), sizes[0]
    for column, size in zip(coded[1:], sizes[1:], strict=True):
        codes += np.multiply(column.codes, below, dtype=width, casting="unsafe")
        below *= size
    ids, chosen = _dense(codes, count)
    made = {}
    for key, column, size in zip(keys, coded, sizes, strict=True):
        values = column.values
        made[key] = values.take(pa.array(chosen % size)) if len(values) else values
        chosen = chosen // size
    return ids, pa.table(made)


SMALL_RANGE = 1 << 16


def _dense(codes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers below `count` as numbers of 32 bits without gaps, and which number each of those is."""
    if count > SMALL_RANGE:
        whole = pa.array(codes).dictionary_encode()
        return np.asarray(whole.indices).astype(np.uint32), np.asarray(whole.dictionary)
    used = np.zeros(count, bool)
    used[codes] = True
    chosen = np.flatnonzero(used)
    if len(chosen) == count:
        return codes.view(np.uint32), chosen
    places = np.zeros(count, np.uint32)
    places[chosen] = np.arange(len(chosen), dtype=np.uint32)
    return places[codes], chosen


class _Coded(NamedTuple):
    """A column as numbers of rows of `values`; `tight`: each of them has a row."""

    codes: np.ndarray
    values: pa.Array
    tight: bool


def _coded(column: Any) -> _Coded:
    if isinstance(column, pa.ChunkedArray):  # no rows
        column = pa.array([], column.type)
    if pa.types.is_dictionary(column.type):
        if not column.null_count and not column.dictionary.null_count:
            return _Coded(np.asarray(column.indices), column.dictionary, False)
        column = column.cast(column.type.value_type)
    if pa.types.is_null(column.type):
        column = column.cast(pa.int8())
    near = _near(column)
    if near is not None:
        return near
    coded = column.dictionary_encode(null_encoding="encode")
    return _Coded(np.asarray(coded.indices), coded.dictionary, True)


def _near(column: pa.Array) -> _Coded | None:
    """Whole numbers that lie close together as distances from the least, which takes no hashing; None for others."""
    if not pa.types.is_signed_integer(column.type) or column.null_count or len(column) < SMALL_RANGE:
        return None
    ends = pc.min_max(column).as_py()
    if ends["max"] - ends["min"] >= SMALL_RANGE // 4:
        return None
    values = columns.to_numpy(column)
    values = values.astype(np.int32) if values.itemsize < 4 else values
    codes = values - values.dtype.type(ends["min"])
    return _Coded(codes, pa.array(range(ends["min"], ends["max"] + 1), column.type), False)


def _group_by_rows(block: Block, keys: list[str]) -> tuple[np.ndarray, Block]:
    """For so many different keys that their numbers do not fit 64 bits: by Python's rows."""
    seen: dict[tuple, int] = {}
    rows = list(zip(*(block.column(key).to_pylist() for key in keys), strict=True))
    ids = np.array([seen.setdefault(row, len(seen)) for row in rows], dtype=np.uint32)
    firsts = np.zeros(len(seen), np.int64)
    firsts[ids[::-1]] = np.arange(len(ids))[::-1]
    return ids, blk.take(block.select(keys), firsts)


def group_starts(block: Block, keys: list[str]) -> np.ndarray:
    """The first row of each group of a block that is sorted by `keys`."""
    rows = block.num_rows
    if rows == 0:
        return np.zeros(0, dtype=np.int64)
    changed = np.zeros(rows, dtype=bool)
    changed[0] = True
    for key in keys:
        coded = columns.one_chunk(block.column(key)).dictionary_encode(null_encoding="encode")
        codes = np.asarray(coded.indices)
        changed[1:] |= codes[1:] != codes[:-1]
    return np.flatnonzero(changed)


def iter_groups(blocks: Iterable[Block], keys: tuple[str, ...]) -> Iterator[Block]:
    """The groups of blocks that are sorted by key and share none."""
    for block in blocks:
        if block.num_rows == 0:
            continue
        starts = group_starts(block, list(keys)) if keys else [0]
        for start, end in zip(starts, [*starts[1:], block.num_rows], strict=True):
            yield block.slice(start, end - start)
