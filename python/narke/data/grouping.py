"""Rows by key: hashes, order, and the bounds of groups. All vectorised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from narke.data import blocks as blk
from narke.data import columns
from narke.data.blocks import Block

FAST_KINDS = "iufM"


def hash_rows(block: Block, keys: list[str]) -> np.ndarray:
    """A 64-bit hash a row, the same in every process; equal numbers hash alike whatever their width."""
    total = np.zeros(block.num_rows, dtype=np.uint64)
    for key in keys:
        total = total * np.uint64(1_000_003) + _hash_column(block.column(key))
    return total


def _hash_column(column: pa.ChunkedArray) -> np.ndarray:
    import pandas as pd

    coded = columns.one_chunk(column.combine_chunks()).dictionary_encode(null_encoding="encode")
    if isinstance(coded, pa.ChunkedArray):
        return np.zeros(0, dtype=np.uint64)
    values = coded.dictionary
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        plain = np.asarray(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    else:
        plain = np.array([str(v) for v in values.to_pylist()], dtype=object)
    hashed = pd.util.hash_array(plain)
    return hashed[np.asarray(coded.indices)]


def split_by_id(block: Block, ids: np.ndarray, count: int) -> list[Block]:
    """The rows of each of `count` ids, in order."""
    narrow = ids.astype(np.uint16 if count < 2**16 else np.int64)
    order = np.argsort(narrow, kind="stable")
    ends = np.cumsum(np.bincount(narrow, minlength=count))
    joined = blk.whole(block)
    return [joined.take(pa.array(part)) for part in np.split(order, ends[:-1])]


def sort_options(keys: list[str], descending: list[bool]) -> list[tuple[str, str]]:
    """Arrow's form of sort keys."""
    return [(key, "descending" if down else "ascending") for key, down in zip(keys, descending, strict=True)]


def sort(block: Block, keys: list[str], descending: list[bool]) -> Block:
    """The rows in order; nulls last."""
    if block.num_rows < 2:
        return block
    return blk.take(block, order_of(block, keys, descending))


def order_of(block: Block, keys: list[str], descending: list[bool]) -> Any:
    """Indices that put the rows in order."""
    plain = plain_key(block, keys)
    if plain is None:
        return pc.sort_indices(block.select(keys), sort_keys=sort_options(keys, descending))
    order = np.argsort(plain)
    return order[::-1] if descending[0] else order


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
    values, edges = plain_key(block, keys), plain_key(bounds, keys)
    if values is None or edges is None:
        return _partition_any(block, bounds, keys, descending)
    if descending[0]:
        return len(edges) - np.searchsorted(edges[::-1], values, side="left")
    return np.searchsorted(edges, values, side="right")


def _partition_any(block: Block, bounds: Block, keys: list[str], descending: list[bool]) -> np.ndarray:
    """For keys of any types: sort rows and bounds together, then count the bounds before each row."""
    both = blk.concat([bounds.select(keys), block.select(keys)])
    order = np.asarray(pc.sort_indices(both, sort_keys=sort_options(keys, descending)))
    is_bound = order < bounds.num_rows
    before = np.cumsum(is_bound)
    ids = np.empty(block.num_rows, dtype=np.int64)
    ids[order[~is_bound] - bounds.num_rows] = before[~is_bound]
    return ids


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
