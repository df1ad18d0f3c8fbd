"""Slices of Arrow data in values: only the bytes they show travel, not the whole buffers they were cut from."""

from __future__ import annotations

import pickle
import sys
from typing import Any

__all__ = ["reduce_slice"]

_SLACK_BYTES = 4096  # padding of whole arrays, and too little to be worth a copy


def reduce_slice(obj: Any) -> tuple[Any, ...] | None:
    """How to pickle an Arrow array, chunked array, batch or table that shows less than its buffers hold.

    It is written once in Arrow's IPC format, which cuts the buffers; that one buffer travels out of band.

    Returns:
        what ``__reduce__`` returns, or None for everything else: Arrow pickles whole arrays without a copy.
    """
    arrow = sys.modules.get("pyarrow")
    if arrow is None or not isinstance(
        obj, (arrow.Array, arrow.ChunkedArray, arrow.RecordBatch, arrow.Table)
    ):
        return None
    try:
        spare = obj.get_total_buffer_size() - obj.nbytes
    except arrow.ArrowException:  # a layout that Arrow cannot measure
        return None
    if spare <= max(_SLACK_BYTES, obj.nbytes // 8):
        return None
    if isinstance(obj, (arrow.Array, arrow.ChunkedArray)):
        return _reduce_column(arrow, obj)
    return _reduce_table(arrow, obj)


def _reduce_column(arrow: Any, column: Any) -> tuple[Any, ...] | None:
    whole = isinstance(column, arrow.ChunkedArray)
    if isinstance(column.type, arrow.BaseExtensionType):  # readers may not know the type by its name
        if whole:
            return _chunked, (column.chunks, column.type)
        return _extension, (column.type, column.storage)
    if _has_extension(arrow, column.type):
        return None
    table = arrow.Table.from_arrays([column], names=[""])
    return (_read_chunked if whole else _read_array), (_packed(arrow, table),)


def _reduce_table(arrow: Any, table: Any) -> tuple[Any, ...] | None:
    is_batch = isinstance(table, arrow.RecordBatch)
    if any(_has_extension(arrow, kind) for kind in table.schema.types):
        return (_batch_of if is_batch else _table_of), (table.schema, table.columns)
    whole = arrow.Table.from_batches([table]) if is_batch else table
    return (_read_batch if is_batch else _read_table), (_packed(arrow, whole),)


def _has_extension(arrow: Any, kind: Any) -> bool:
    if isinstance(kind, arrow.BaseExtensionType):
        return True
    return any(_has_extension(arrow, kind.field(i).type) for i in range(kind.num_fields))


def _packed(arrow: Any, table: Any) -> pickle.PickleBuffer:
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pickle.PickleBuffer(sink.getvalue())


def _read_table(data: Any) -> Any:
    import pyarrow

    with pyarrow.ipc.open_stream(pyarrow.py_buffer(data)) as reader:
        return reader.read_all()


def _read_batch(data: Any) -> Any:
    import pyarrow

    table = _read_table(data)
    batches = table.to_batches()
    return batches[0] if batches else pyarrow.RecordBatch.from_pylist([], schema=table.schema)


def _read_chunked(data: Any) -> Any:
    return _read_table(data).column(0)


def _read_array(data: Any) -> Any:
    import pyarrow

    column = _read_chunked(data)
    return column.chunk(0) if column.num_chunks else pyarrow.array([], type=column.type)


def _chunked(chunks: list[Any], kind: Any) -> Any:
    import pyarrow

    return pyarrow.chunked_array(chunks, type=kind)


def _extension(kind: Any, storage: Any) -> Any:
    import pyarrow

    return pyarrow.ExtensionArray.from_storage(kind, storage)


def _batch_of(schema: Any, columns: list[Any]) -> Any:
    import pyarrow

    return pyarrow.RecordBatch.from_arrays(columns, schema=schema)


def _table_of(schema: Any, columns: list[Any]) -> Any:
    import pyarrow

    return pyarrow.Table.from_arrays(columns, schema=schema)
