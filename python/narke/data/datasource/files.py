"""Sources of files that are read whole: CSV, JSON, text, images, arrays, bytes."""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import fs

from narke.data import blocks as blk
from narke.data import columns
from narke.data.block import BlockMetadata
from narke.data.context import DataContext
from narke.data.datasource.datasource import Datasource, ReadTask
from narke.data.datasource.partitioning import constant
from narke.data.datasource.paths import File
from narke.data.datasource.retry import retried


class Reader:
    """Base of file formats: from a file's stream to blocks."""

    name = ""
    growth = 1.0  # bytes in memory per byte in the file

    def read(self, stream: Any, path: str) -> Iterator[pa.Table]:
        """The file's blocks."""
        raise NotImplementedError


class FileSource(Datasource):
    """Files of one format, whole files to each task.

    Args:
        reader: the format. system, files: what to read. include_paths: add column "path".
        stream_args: of the filesystem's `open_input_stream`.
    """

    def __init__(
        self,
        reader: Reader,
        system: fs.FileSystem,
        files: list[File],
        include_paths: bool = False,
        stream_args: Mapping[str, Any] | None = None,
    ):
        self._reader, self._system, self._files = reader, system, files
        self._include_paths, self._stream_args = include_paths, dict(stream_args or {})
        self._retried = tuple(DataContext.get_current().retried_io_errors)

    def get_name(self) -> str:
        return self._reader.name

    def estimate_inmemory_data_size(self) -> int:
        return int(self._reader.growth * sum(f.size or 0 for f in self._files))

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        count = max(1, min(parallelism, len(self._files)))
        edges = [len(self._files) * i // count for i in range(count + 1)]
        return [self._task(self._files[a:b]) for a, b in zip(edges[:-1], edges[1:], strict=True) if b > a]

    def _task(self, files: list[File]) -> ReadTask:
        read = FileRead(
            self._reader, self._system, files, self._include_paths, self._stream_args, self._retried
        )
        size = sum(f.size or 0 for f in files)
        return ReadTask(read, BlockMetadata(None, size, input_files=tuple(f.path for f in files)))


@dataclasses.dataclass
class FileRead:
    """Reads some files one after another."""

    reader: Reader
    system: fs.FileSystem
    files: list[File]
    include_paths: bool
    stream_args: dict[str, Any]
    retried: tuple[str, ...] = ()

    def __call__(self) -> Iterator[pa.Table]:
        for file in self.files:
            try:
                first, rest = retried(functools.partial(self._begun, file), self.retried)
                for block in itertools.chain(first, rest):
                    yield add_file_columns(block, file, self.include_paths)
            except FileNotFoundError:
                raise
            except (OSError, ValueError, EOFError, TypeError) as error:  # Arrow's are of these, too
                raise ValueError(f"{file.path} cannot be read as {self.reader.name}: {error}") from error

    def _begun(self, file: File) -> tuple[list[pa.Table], Iterator[pa.Table]]:
        """The first block of a file, if it has one, and the rest."""
        stream = self.system.open_input_stream(file.path, **self.stream_args)
        try:
            blocks = self.reader.read(stream, file.path)
            first = list(itertools.islice(blocks, 1))
        except BaseException:
            stream.close()
            raise
        return first, _until_closed(blocks, stream)


def _until_closed(blocks: Iterator[pa.Table], stream: Any) -> Iterator[pa.Table]:
    with stream:
        yield from blocks


def add_file_columns(block: pa.Table, file: File, include_paths: bool) -> pa.Table:
    """The block with what its folders' names say, and with its path when asked."""
    for key, value in file.partition:
        if key not in block.column_names:
            block = block.append_column(key, constant(value, block.num_rows))
    if include_paths:
        block = block.append_column("path", constant(file.path, block.num_rows))
    return block


class CsvReader(Reader):
    """CSV through Arrow; arguments are those of `pyarrow.csv.read_csv`."""

    name, growth = "CSV", 1.5

    def __init__(self, args: Mapping[str, Any]):
        self._args = dict(args)

    def read(self, stream: Any, path: str) -> Iterator[pa.Table]:
        from pyarrow import csv

        args = {"read_options": csv.ReadOptions(use_threads=False), **self._args}
        data = stream.read()
        if not data.strip():
            yield pa.table({})
            return
        table = csv.read_csv(pa.BufferReader(data), **args)
        table.column_names  # noqa: B018  # raises here, where the file is known, if names are not UTF-8
        yield table


class JsonReader(Reader):
    """JSON lines, or one JSON array or object a file; arguments are those of `pyarrow.json.read_json`."""

    name, growth = "JSON", 1.5

    def __init__(self, args: Mapping[str, Any]):
        self._args = dict(args)

    def read(self, stream: Any, path: str) -> Iterator[pa.Table]:
        from pyarrow import json as arrow_json

        data = stream.read()
        if data.lstrip()[:1] == b"[":
            yield _from_json_text(data)
            return
        # A row that crosses the edge of a block is an error in Arrow.
        block_size = max(1 << 20, len(data) + 1)
        args = {
            "read_options": arrow_json.ReadOptions(use_threads=False, block_size=block_size),
            **self._args,
        }
        try:
            yield arrow_json.read_json(io.BytesIO(data), **args)
        except pa.ArrowInvalid as error:
            try:
                yield _from_json_text(data)
            except ValueError:
                raise ValueError(f"{path} is neither JSON lines nor one JSON value: {error}") from error


def _from_json_text(data: bytes) -> pa.Table:
    import json

    value = json.loads(data)
    rows = value if isinstance(value, list) else [value]
    odd = next((row for row in rows if not isinstance(row, dict)), None)
    if odd is not None:
        raise ValueError(f"rows must be JSON objects, not {odd!r:.50}")
    return blk.from_rows(rows)


class TextReader(Reader):
    """Lines of text in column "text"."""

    name = "Text"

    def __init__(self, encoding: str, drop_empty_lines: bool):
        self._encoding, self._drop_empty = encoding, drop_empty_lines

    def read(self, stream: Any, path: str) -> Iterator[pa.Table]:
        lines = stream.read().decode(self._encoding).split("\n")
        if lines and not lines[-1]:
            lines.pop()
        lines = [line.removesuffix("\r") for line in lines]
        yield pa.table({"text": pa.array([ln for ln in lines if ln or not self._drop_empty], pa.string())})


class BinaryReader(Reader):
    """Whole files in column "bytes"."""

    name = "Binary"

    def read(self, stream: Any, path: str) -> Iterator[pa.Table]:
        yield pa.table({"bytes": pa.array([stream.read()], pa.binary())})


class NumpyReader(Reader):
    """Arrays saved by `numpy.save`, rows first, in column "data"."""

    name = "Numpy"

    def __init__(self, args: Mapping[str, Any]):
        self._args = dict(args)

    def read(self, stream: Any, path: str) -> Iterator[pa.Table]:
        yield pa.table({"data": columns.to_arrow(np.load(io.BytesIO(stream.read()), **self._args))})


class ImageReader(Reader):
    """Images in column "image", as arrays of height, width and channels; needs Pillow.

    Args:
        size: (height, width) to scale to. mode: Pillow's mode to convert to, such as "RGB".
    """

    name, growth = "Image", 8.0

    def __init__(self, size: tuple[int, int] | None, mode: str | None):
        self._size, self._mode = size, mode

    def read(self, stream: Any, path: str) -> Iterator[pa.Table]:
        from PIL import Image

        image: Image.Image = Image.open(io.BytesIO(stream.read()))
        if self._size is not None:
            image = image.resize((self._size[1], self._size[0]), resample=Image.Resampling.BILINEAR)
        if self._mode is not None:
            image = image.convert(self._mode)
        yield pa.table({"image": columns.to_arrow([np.asarray(image)])})
