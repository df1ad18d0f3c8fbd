"""Formats of written files: functions from block and stream to a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.data import blocks as blk
from narke.data import columns
from narke.data.blocks import Block

Write = Callable[[Block, Any], None]


class LateWriter:
    """A writer with further arguments that a function gives where it is used: they need not pickle.

    Args:
        writer: one of the functions below. args: its arguments. args_fn: gives more of them.
    """

    def __init__(self, writer: Callable[[dict[str, Any]], Write], args: dict[str, Any], args_fn: Any):
        self._writer, self._args, self._args_fn = writer, args, args_fn

    def __call__(self, block: Block, stream: Any) -> None:
        self._writer({**self._args, **self._args_fn()})(block, stream)


def parquet_writer(args: dict[str, Any]) -> Write:
    """Writes Parquet; `args` are those of `pyarrow.parquet.write_table`."""

    def write(block: Block, stream: Any) -> None:
        import pyarrow.parquet as pq

        columns.refuse_objects(block.schema, "cannot write")
        pq.write_table(block, stream, **args)

    return write


def csv_writer(args: dict[str, Any]) -> Write:
    """Writes CSV; `args` are those of `pyarrow.csv.write_csv`."""

    def write(block: Block, stream: Any) -> None:
        from pyarrow import csv

        csv.write_csv(block, stream, **args)

    return write


def json_writer(args: dict[str, Any]) -> Write:
    """Writes JSON lines; `args` are those of `pandas.DataFrame.to_json`."""

    def write(block: Block, stream: Any) -> None:
        chosen = {"orient": "records", "lines": True, **args}
        stream.write(blk.to_pandas(block).to_json(**chosen).encode())

    return write


def orc_writer(args: dict[str, Any]) -> Write:
    """Writes ORC; `args` are those of `pyarrow.orc.write_table`."""

    def write(block: Block, stream: Any) -> None:
        from pyarrow import orc

        columns.refuse_objects(block.schema, "cannot write")
        orc.write_table(block, stream, **args)

    return write


def numpy_writer(column: str) -> Write:
    """Writes one column with `numpy.save`."""

    def write(block: Block, stream: Any) -> None:
        import io

        import numpy as np

        held = io.BytesIO()
        np.save(held, columns.to_numpy(block.column(column)), allow_pickle=False)
        stream.write(held.getvalue())

    return write
