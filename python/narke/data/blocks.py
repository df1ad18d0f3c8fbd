"""Blocks: Arrow tables, and their conversions to and from batches and rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from narke.data import columns, kernels

Block: TypeAlias = pa.Table
BATCH_FORMATS = ("default", "numpy", "pandas", "pyarrow", None)
ITEM = "item"


def check_format(batch_format: str | None) -> None:
    """Raises ValueError when there is no such batch format."""
    if batch_format not in BATCH_FORMATS:
        raise ValueError(f"batch_format must be one of {BATCH_FORMATS}, not {batch_format!r}")


def from_batch(batch: Any) -> Block:
    """A block of what a function of the user's returned.

    Args:
        batch: dict of columns, pandas DataFrame, Arrow table or record batch.

    Raises:
        ValueError: it is none of these, or its columns differ in length.
    """
    if isinstance(batch, pa.RecordBatch):
        batch = pa.Table.from_batches([batch])
    if isinstance(batch, pa.Table):
        return with_plain_layouts(batch)
    if type(batch).__module__.split(".")[0] == "pandas" and hasattr(batch, "columns"):
        return from_pandas(batch)
    if isinstance(batch, Mapping):
        return _from_columns(batch)
    raise ValueError(
        f"the function must return a dict of arrays, a DataFrame or an Arrow table, not {type(batch).__name__}: "
        f"{batch!r:.100}. Return {{'name': array}}."
    )


def with_plain_layouts(table: Block) -> Block:
    """The table without views and runs, of which Arrow itself cannot pick rows."""
    for place, field in enumerate(table.schema):
        column = table.column(place)
        if pa.types.is_string_view(field.type):
            table = table.set_column(place, field.name, column.cast(pa.string()))
        elif pa.types.is_binary_view(field.type):
            table = table.set_column(place, field.name, column.cast(pa.binary()))
        elif pa.types.is_run_end_encoded(field.type):
            chunks = [pc.run_end_decode(chunk) for chunk in column.chunks]
            table = table.set_column(place, field.name, pa.chunked_array(chunks, field.type.value_type))
    return table


def _from_columns(batch: Mapping[str, Any]) -> Block:
    made = {name: columns.to_arrow(values) for name, values in batch.items()}
    lengths = {name: len(values) for name, values in made.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"a batch's columns must have the same length, but have {lengths}")
    return pa.table(made)


def from_pandas(frame: Any) -> Block:
    """A block of a DataFrame's columns; its index is left out."""
    return (
        pa.table({str(name): columns.to_arrow(frame[name]) for name in frame.columns})
        if len(frame.columns)
        else pa.table({})
    )


def from_rows(rows: Sequence[Mapping[str, Any]]) -> Block:
    """A block of dicts; a key that a row lacks is null there."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: columns.to_arrow([row.get(name) for row in rows]) for name in names})


def to_batch(block: Block, batch_format: str | None) -> Any:
    """The block in a batch format: dict of arrays, DataFrame, or the table itself."""
    if batch_format in ("default", "numpy"):
        return {name: columns.to_numpy(block.column(name)) for name in block.column_names}
    if batch_format == "pandas":
        return to_pandas(block)
    return block


def to_pandas(block: Block) -> Any:
    """A DataFrame of the block; tensors and objects as columns of objects."""
    import pandas as pd

    odd = [
        f.name for f in block.schema if columns.is_tensor(f.type) or isinstance(f.type, columns.ObjectType)
    ]
    if not odd:
        return block.to_pandas()
    frame = block.drop_columns(odd).to_pandas()
    for name in odd:
        frame[name] = pd.Series(
            columns.object_array(columns.to_values(block.column(name))), index=range(len(block))
        )
    return frame[block.column_names]


def iter_rows(block: Block) -> Iterator[dict[str, Any]]:
    """The block's rows as dicts."""
    names = block.column_names
    if not names:
        return iter([{} for _ in range(block.num_rows)])
    return (
        dict(zip(names, row, strict=True))
        for row in zip(*(columns.to_values(c) for c in block.columns), strict=True)
    )


def concat(blocks: Sequence[Block]) -> Block:
    """One block of several; types are widened where they differ, missing columns filled with null."""
    full = [b for b in blocks if b.num_rows or b.num_columns]
    if not full:
        return blocks[0] if blocks else pa.table({})
    rows = [b for b in full if b.num_rows] or full[:1]
    if len(rows) == 1:
        return rows[0]
    try:
        return pa.concat_tables(rows, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return _concat_unlike(rows)


def _concat_unlike(blocks: Sequence[Block]) -> Block:
    """Blocks whose types have nothing in common: those columns become objects."""
    names = list(dict.fromkeys(name for b in blocks for name in b.column_names))
    return pa.table({name: _column_unlike(blocks, name) for name in names})


def _column_unlike(blocks: Sequence[Block], name: str) -> pa.Array | pa.ChunkedArray:
    parts = [
        b.column(name) if name in b.column_names else pa.chunked_array([pa.nulls(len(b))]) for b in blocks
    ]
    kinds = {p.type for p in parts if not pa.types.is_null(p.type)}
    if len(kinds) > 1 and all(columns.is_tensor(kind) for kind in kinds):
        return columns.to_arrow([v for p in parts for v in columns.to_values(p)])
    if len(kinds) > 1:
        return columns.objects_to_arrow([v for p in parts for v in columns.to_values(p)])
    kind = kinds.pop() if kinds else pa.null()
    return pa.chunked_array([c for p in parts for c in p.cast(kind).chunks], kind)


def compact(block: Block) -> Block:
    """The block without the parts of its buffers that belong to other rows; the block itself when there are none.

    A slice keeps its whole parent alive, and carries it along when it is stored.
    """
    if block.get_total_buffer_size() <= block.nbytes * 1.1 + 4096:
        return block
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, block.schema) as writer:
        writer.write_table(block)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def take(block: Block, indices: np.ndarray | pa.Array) -> Block:
    """Rows by index."""
    return kernels.take(block, np.asarray(indices).astype(np.uint32, copy=False))


def whole(block: Block) -> Block:
    """The block with one chunk a column."""
    return block if all(c.num_chunks <= 1 for c in block.columns) else block.combine_chunks()


def rows_per_block(block: Block, max_bytes: int) -> int:
    """How many of its rows make a block of about `max_bytes`; at least one."""
    if block.num_rows == 0:
        return 1
    return max(1, int(max_bytes / max(1.0, block.nbytes / block.num_rows)))


def split_large(block: Block, max_bytes: int) -> Iterator[Block]:
    """The block, cut where it is more than half again as large as `max_bytes`."""
    if block.nbytes <= 1.5 * max_bytes or block.num_rows <= 1:
        yield block
        return
    step = rows_per_block(block, max_bytes)
    for start in range(0, block.num_rows, step):
        yield compact(block.slice(start, step))


def rebatch(blocks: Iterable[Block], rows: int | None) -> Iterator[Block]:
    """The same rows in batches of `rows` (the last may be smaller), or block by block when `rows` is None."""
    if rows is None:
        yield from (b for b in blocks if b.num_rows)
        return
    held: list[Block] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += block.num_rows
        if count >= rows:
            joined, count = concat(held), count % rows
            full = joined.num_rows - count
            yield from (joined.slice(start, rows) for start in range(0, full, rows))
            held = [joined.slice(full)]
    if count:
        yield concat(held)


def writable(batch: Any) -> Any:
    """The batch with arrays that may be written to; Arrow tables stay as they are."""
    if isinstance(batch, dict):
        return {name: values if values.flags.writeable else values.copy() for name, values in batch.items()}
    return batch if isinstance(batch, pa.Table) else batch.copy(deep=True)


def zipped(left: Block, right: Block) -> Block:
    """The columns of both; a name of the second that is there already gets a number."""
    for name in right.column_names:
        unique, number = name, 1
        while unique in left.column_names:
            unique, number = f"{name}_{number}", number + 1
        left = left.append_column(unique, right.column(name))
    return left


def upsert(block: Block, name: str, column: pa.Array | pa.ChunkedArray) -> Block:
    """The block with the column, in its place when there is one of that name, else last."""
    if name in block.column_names:
        return block.set_column(block.column_names.index(name), name, column)
    return block.append_column(name, column)
