"""Arrow's columns and the engine's kernels: picking rows, order, hashes, reductions by group. See `src/data`.

What the kernels have no layout for (lists of varying length, structs, unions) goes through Arrow's own functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from narke import _native

PLACE_BYTES = 8


class Layout(NamedTuple):
    """How rows lie in memory: 'b' bits, 's' strings (width of an offset), 'x' bytes, or numbers 'i', 'u', 'f'."""

    kind: str
    width: int


_BITS = Layout("b", 1)
_STRINGS = {
    pa.string(): Layout("s", 4),
    pa.binary(): Layout("s", 4),
    pa.large_string(): Layout("s", 8),
    pa.large_binary(): Layout("s", 8),
}


def layout_of(kind: pa.DataType) -> Layout | None:
    """The layout of a type's rows; None when the kernels have none for it."""
    if kind in _STRINGS:
        return _STRINGS[kind]
    if pa.types.is_boolean(kind):
        return _BITS
    number = number_layout(kind)
    if number is not None:
        return number
    width = _fixed_width(kind)
    return Layout("x", width) if width else None


def number_layout(kind: pa.DataType) -> Layout | None:
    """The layout of numbers, dates, times and durations; None for everything else."""
    if pa.types.is_integer(kind):
        return Layout("i" if pa.types.is_signed_integer(kind) else "u", kind.bit_width // 8)
    if pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return Layout("f", kind.bit_width // 8)
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return Layout("i", kind.bit_width // 8)
    return None


def _fixed_width(kind: pa.DataType) -> int:
    """Bytes of a row without parts elsewhere; 0 when there is no such number."""
    if pa.types.is_float16(kind) or pa.types.is_decimal(kind):
        return kind.bit_width // 8
    return kind.byte_width if pa.types.is_fixed_size_binary(kind) else 0


def places(rows: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Where rows, numbered through chunks of these lengths, lie: 8 bytes a row, for `take`.

    Raises:
        IndexError: a row is not in any chunk.
    """
    found = np.empty(len(rows) * PLACE_BYTES, np.uint8)
    _native.columns_locate(np.ascontiguousarray(rows, np.uint32), np.asarray(lengths, dtype=np.int64), found)
    return found


def take(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """The rows of a table by number; chunks need not be joined first.

    Args:
        rows: numbers of rows, of 32 bits.

    Raises:
        IndexError: a row is outside the table.
    """
    known: dict[tuple[int, ...], np.ndarray] = {}
    made = [take_column(column, rows, known) for column in table.columns]
    return pa.Table.from_arrays(made, schema=table.schema)


def take_column(
    column: pa.ChunkedArray, rows: np.ndarray, known: dict[tuple[int, ...], np.ndarray]
) -> pa.Array:
    """The rows of a column by number; `known` keeps where they lie, by the lengths of chunks, for other columns."""
    lengths = tuple(len(c) for c in column.chunks)
    if lengths not in known:
        known[lengths] = places(rows, lengths)
    return _take_column(column, known[lengths], rows)


def _take_column(column: pa.ChunkedArray, where: np.ndarray, rows: np.ndarray) -> pa.Array:
    kind = column.type
    storage = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    layout = layout_of(storage)
    if layout is None:
        vectors = _as_vectors(column, storage)
        if vectors is None:
            return _take_by_arrow(column, rows)
        taken = _gathered(vectors, Layout("x", vectors[0][0]), where)
        return _of_vectors(taken, kind, storage, len(rows))
    chunks = [c.storage if isinstance(kind, pa.BaseExtensionType) else c for c in column.chunks]
    made = _taken(chunks, storage, layout, where, len(rows), column.null_count)
    return pa.ExtensionArray.from_storage(kind, made) if isinstance(kind, pa.BaseExtensionType) else made


def _take_by_arrow(column: pa.ChunkedArray, rows: np.ndarray) -> pa.Array:
    whole = column.combine_chunks() if column.num_chunks > 1 else column
    taken = whole.take(pa.array(rows))
    return taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken


def _as_vectors(column: pa.ChunkedArray, storage: pa.DataType) -> list[Any] | None:
    """Lists of one length without nulls as rows of plain bytes: (width, values, offset, rows) for each chunk."""
    if not pa.types.is_fixed_size_list(storage) or not storage.list_size or column.null_count:
        return None
    number = number_layout(storage.value_type)
    if number is None:
        return None
    width = number.width * storage.list_size
    made = []
    for chunk in column.chunks:
        own = chunk.storage if isinstance(column.type, pa.BaseExtensionType) else chunk
        values = own.values
        if values.null_count:
            return None
        if values.offset % storage.list_size:
            return None
        made.append((width, values.buffers()[1], own.offset + values.offset // storage.list_size, len(own)))
    return made or None


def _gathered(vectors: list[Any], layout: Layout, where: np.ndarray) -> pa.Buffer:
    chunks = [(values, None, None, offset, rows) for _, values, offset, rows in vectors]
    out = pa.allocate_buffer(len(where) // PLACE_BYTES * layout.width)
    _native.columns_gather(chunks, layout.kind, layout.width, where, out, None)
    return out


def _of_vectors(values: pa.Buffer, kind: pa.DataType, storage: pa.DataType, rows: int) -> pa.Array:
    flat = pa.Array.from_buffers(storage.value_type, rows * storage.list_size, [None, values])
    made = pa.FixedSizeListArray.from_arrays(flat, type=storage)
    return pa.ExtensionArray.from_storage(kind, made) if isinstance(kind, pa.BaseExtensionType) else made


def _taken(
    chunks: list[pa.Array], kind: pa.DataType, layout: Layout, where: np.ndarray, rows: int, nulls: int
) -> pa.Array:
    described = [_chunk(c, layout) for c in chunks]
    validity, null_count = _validity(described, where, rows) if nulls else (None, 0)
    if layout.kind != "s":
        size = -(-rows // 8) if layout.kind == "b" else rows * layout.width
        out = pa.allocate_buffer(size)
        _native.columns_gather(described, layout.kind, layout.width, where, out, None)
        return pa.Array.from_buffers(kind, rows, [validity, out], null_count)
    offsets = pa.allocate_buffer((rows + 1) * layout.width)
    size = _native.columns_gather(described, layout.kind, layout.width, where, None, offsets)
    if size < 0:
        wide = pa.large_string() if pa.types.is_string(kind) else pa.large_binary()
        return _taken([c.cast(wide) for c in chunks], wide, _STRINGS[wide], where, rows, nulls)
    out = pa.allocate_buffer(size)
    if size:
        _native.columns_gather(described, layout.kind, layout.width, where, out, offsets)
    return pa.Array.from_buffers(kind, rows, [validity, offsets, out], null_count)


def _chunk(array: pa.Array, layout: Layout) -> tuple[Any, ...]:
    """(values, validity, offsets, offset, rows), as the kernels take a chunk."""
    buffers = array.buffers()
    validity = buffers[0] if array.null_count else None
    if layout.kind == "s":
        values = buffers[2] if buffers[2] is not None else b""
        return values, validity, buffers[1], array.offset, len(array)
    return buffers[1], validity, None, array.offset, len(array)


def _validity(described: list[Any], where: np.ndarray, rows: int) -> tuple[pa.Buffer, int]:
    out = pa.allocate_buffer(-(-rows // 8))
    chunks = [(validity, offset, length) for _, validity, _, offset, length in described]
    return out, _native.columns_gather_validity(chunks, where, out)


def permutation(seed: int, rows: int) -> np.ndarray:
    """The numbers below `rows` in random order; the seed (64 bits) decides it."""
    out = np.empty(rows, np.uint32)
    _native.columns_permutation(seed & (2**64 - 1), out)
    return out


def random_ids(seed: int, count: int, rows: int) -> np.ndarray:
    """A random number below `count` for each of `rows` rows."""
    out = np.empty(rows, np.uint32)
    _native.columns_random_ids(seed & (2**64 - 1), count, out)
    return out


def partition(ids: np.ndarray, count: int) -> list[np.ndarray]:
    """The numbers of the rows with each id below `count`, in their order."""
    order, ends = np.empty(len(ids), np.uint32), np.zeros(count, np.int64)
    _native.columns_partition(np.ascontiguousarray(ids, np.uint32), order, ends)
    return np.split(order, ends[:-1])


def sort_order(keys: Sequence[tuple[pa.Array, bool]]) -> np.ndarray | None:
    """The numbers of rows in order of keys of (column, descending), stable; NaN and then nulls last.

    Returns: None when a key has no numbers.
    """
    layouts = [number_layout(column.type) for column, _ in keys]
    if any(layout is None for layout in layouts):
        return None
    given = [
        (_chunk(column, layout), layout.kind, layout.width, descending)
        for (column, descending), layout in zip(keys, layouts, strict=True)
        if layout is not None
    ]
    out = np.empty(len(keys[0][0]), np.uint32)
    _native.columns_sort_order(given, out)
    return out


def range_ids(column: pa.Array, bounds: pa.Array, descending: bool) -> np.ndarray | None:
    """For each number, how many of the sorted bounds are not after it; NaN and nulls come last.

    Returns: None when the column has no numbers, or the bounds have nulls or NaN.
    """
    layout = number_layout(column.type)
    if layout is None or column.type != bounds.type or bounds.null_count:
        return None
    if layout.kind == "f" and np.isnan(np.asarray(bounds)).any():
        return None
    out = np.empty(len(column), np.uint32)
    cuts = [_chunk(bounds, layout)]
    _native.columns_range_ids([_chunk(column, layout)], cuts, layout.kind, layout.width, descending, out)
    return out


def hash_column(column: pa.Array, hashes: np.ndarray) -> bool:
    """Add a column to the hashes (64 bits) of its rows. Returns False when the kernels have no layout for it."""
    layout = layout_of(column.type)
    if layout is None or layout.kind == "b":
        return False
    _native.columns_hash([_chunk(column, layout)], layout.kind, layout.width, hashes)
    return True


def bucket_ids(hashes: np.ndarray, count: int) -> np.ndarray:
    """A number below `count` for each hash, evenly spread."""
    out = np.empty(len(hashes), np.uint32)
    _native.columns_bucket_ids(hashes, count, out)
    return out


def reduce(what: str, ids: np.ndarray, column: pa.Array, groups: int) -> tuple[np.ndarray, ...] | None:
    """A reduction of a column of numbers by group.

    Args:
        what: "sum", "min", "max", or "moments" (mean, and sum of squared distances from it).
        ids: group of each row, of 32 bits.

    Returns: (result, [squares,] number of values) per group, or None when the column has no numbers. Sums of
        unsigned integers are left to Arrow, which has a type for them.
    """
    layout = number_layout(column.type)
    if layout is None or (layout.kind == "u" and layout.width == 8):
        return None
    floats = layout.kind == "f" or what == "moments"
    out, counts = np.zeros(groups, np.float64 if floats else np.int64), np.zeros(groups, np.int64)
    squares = np.zeros(groups) if what == "moments" else None
    chunk = [_chunk(column, layout)]
    _native.columns_reduce(what, ids, chunk, layout.kind, layout.width, out, squares, counts)
    return (out, counts) if squares is None else (out, squares, counts)
