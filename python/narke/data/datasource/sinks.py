"""Writing: one file a block, named so that tasks never meet."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
from pyarrow import fs

from narke.data import blocks as blk
from narke.data import columns
from narke.data.blocks import Block
from narke.data.datasource import paths
from narke.data.transforms import sized

FILE_BYTES = 512 * 1024 * 1024


class SaveMode(enum.Enum):
    """What to do when there are files already: add to them, put others in their place, leave all be, or refuse."""

    APPEND = "append"
    OVERWRITE = "overwrite"
    IGNORE = "ignore"
    ERROR = "error"
    CREATE = "create"
    UPSERT = "upsert"


class FileSink:
    """The step at the end of a writing plan.

    Args:
        path: folder. filesystem: see `paths.resolve`. extension: of the files. write: from block and stream to file.
        mode: see `SaveMode`. make_folder: whether to make the folder.
    """

    def __init__(
        self,
        path: str,
        filesystem: Any,
        extension: str,
        write: Callable[[Block, Any], None],
        mode: SaveMode = SaveMode.APPEND,
        make_folder: bool = True,
        stream_args: dict[str, Any] | None = None,
    ):
        self.__name__ = f"Write{extension.capitalize()}"
        self._system, self._path = paths.resolve(path, filesystem)
        self._extension, self._write, self._stream_args = extension, write, dict(stream_args or {})
        self._name = uuid.uuid4().hex
        self._mode, self._make_folder = mode, make_folder

    def prepare(self) -> bool:
        """Make the folder ready, before the first task. Returns whether to write at all.

        Raises:
            ValueError: mode ERROR or CREATE, and there is something.
        """
        info = self._system.get_file_info(self._path)
        exists = info.type != fs.FileType.NotFound
        if exists and self._mode in (SaveMode.ERROR, SaveMode.CREATE):
            raise ValueError(f"{self._path} exists already; choose another path, or mode OVERWRITE or APPEND")
        if exists and self._mode is SaveMode.IGNORE:
            return False
        if exists and self._mode is SaveMode.OVERWRITE:
            self._system.delete_dir_contents(self._path)
        if self._make_folder:
            self._system.create_dir(self._path, recursive=True)
        return True

    def __call__(self, index: int, blocks: Iterable[Block]) -> Iterator[Block]:
        rows = 0
        full = (b for b in sized(blocks, FILE_BYTES) if b.num_rows)
        for number, block in enumerate(full):
            target = f"{self._path}/{self._name}_{index:06}_{number:06}.{self._extension}"
            with self._system.open_output_stream(target, **self._stream_args) as stream:
                self._write(block, stream)
            rows += block.num_rows
        yield pa.table({"num_rows": [rows]})


def parquet_writer(args: dict[str, Any]) -> Callable[[Block, Any], None]:
    """Writes Parquet; `args` are those of `pyarrow.parquet.write_table`."""

    def write(block: Block, stream: Any) -> None:
        import pyarrow.parquet as pq

        pq.write_table(block, stream, **args)

    return write


def csv_writer(args: dict[str, Any]) -> Callable[[Block, Any], None]:
    """Writes CSV; `args` are those of `pyarrow.csv.write_csv`."""

    def write(block: Block, stream: Any) -> None:
        from pyarrow import csv

        csv.write_csv(block, stream, **args)

    return write


def json_writer(args: dict[str, Any]) -> Callable[[Block, Any], None]:
    """Writes JSON lines; `args` are those of `pandas.DataFrame.to_json`."""

    def write(block: Block, stream: Any) -> None:
        chosen = {"orient": "records", "lines": True, **args}
        stream.write(blk.to_pandas(block).to_json(**chosen).encode())

    return write


def numpy_writer(column: str) -> Callable[[Block, Any], None]:
    """Writes one column with `numpy.save`."""

    def write(block: Block, stream: Any) -> None:
        import io

        import numpy as np

        held = io.BytesIO()
        np.save(held, columns.to_numpy(block.column(column)))
        stream.write(held.getvalue())

    return write
