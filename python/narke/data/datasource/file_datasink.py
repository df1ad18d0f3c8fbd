"""Writing files: one a block or one a row, in folders by column where asked.

A file appears under its name when it is whole: it is written beside it under a name that readers leave out, and then
renamed (object stores show objects only when they are whole). Names follow from the task's number, so a task that runs
again puts the same files in the place of its own.
"""

from __future__ import annotations

import enum
import posixpath
import uuid
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from pyarrow import fs

from narke.data import blocks as blk
from narke.data import columns, grouping
from narke.data.blocks import Block
from narke.data.context import DataContext
from narke.data.datasource import paths
from narke.data.datasource.datasink import Datasink, TaskContext, WriteResult
from narke.data.datasource.filename_provider import FilenameProvider
from narke.data.datasource.retry import retried
from narke.data.near_names import unknown
from narke.data.transforms import sized

FILE_BYTES = 128 * 1024 * 1024


class SaveMode(enum.Enum):
    """What to do when there are files already: add to them, put others in their place, leave all be, or refuse."""

    APPEND = "append"
    OVERWRITE = "overwrite"
    IGNORE = "ignore"
    ERROR = "error"
    CREATE = "create"
    UPSERT = "upsert"


class Written(list[str]):
    """Paths of files that a task wrote, and what identifies the whole write."""

    def __init__(self, write_uuid: str = ""):
        super().__init__()
        self.write_uuid = write_uuid


class _FileDatasink(Datasink[list[str]]):
    """Base of sinks of files.

    Args:
        path: folder, or URI of one. filesystem: see `paths.resolve`. try_create_dir: make the folder.
        open_stream_args: of the filesystem's `open_output_stream`. filename_provider: names files.
        dataset_uuid, file_format: beginning and ending of names when there is no provider.
        mode: see `SaveMode`. partition_cols: columns that become folders. max_rows_per_file: cut blocks.
    """

    def __init__(
        self,
        path: str,
        *,
        filesystem: Any = None,
        try_create_dir: bool = True,
        open_stream_args: dict[str, Any] | None = None,
        filename_provider: FilenameProvider | None = None,
        dataset_uuid: str | None = None,
        file_format: str | None = None,
        mode: SaveMode = SaveMode.APPEND,
        partition_cols: list[str] | None = None,
        max_rows_per_file: int | None = None,
    ):
        self.filesystem, self.path = paths.resolve(path, filesystem)
        self.path = self.path.rstrip("/") or "/"
        self.try_create_dir, self.open_stream_args = try_create_dir, dict(open_stream_args or {})
        self.filename_provider = filename_provider or FilenameProvider(dataset_uuid, file_format)
        self.file_format, self.mode = file_format, SaveMode(mode)
        self.partition_cols, self.max_rows_per_file = list(partition_cols or []), max_rows_per_file
        context = DataContext.get_current()
        self._retried = tuple(context.write_file_retry_on_errors)
        self._creates_on_s3 = context.s3_try_create_dir
        self._named_by_task = type(self.filename_provider) is FilenameProvider
        if self.mode is SaveMode.UPSERT:
            raise ValueError("files have no keys to upsert by: use mode APPEND or OVERWRITE")

    def should_write(self) -> bool:
        """Whether mode and what is there allow it.

        Raises:
            ValueError: mode ERROR or CREATE, and there is something.
        """
        exists = self.filesystem.get_file_info(self.path).type != fs.FileType.NotFound
        if exists and self.mode in (SaveMode.ERROR, SaveMode.CREATE):
            raise ValueError(f"{self.path} exists already; choose another path, or mode OVERWRITE or APPEND")
        return not (exists and self.mode is SaveMode.IGNORE)

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        exists = self.filesystem.get_file_info(self.path).type == fs.FileType.Directory
        if exists and self.mode is SaveMode.OVERWRITE:
            self.filesystem.delete_dir_contents(self.path)
        if self.try_create_dir and (not _is_s3(self.filesystem) or self._creates_on_s3):
            self.filesystem.create_dir(self.path, recursive=True)

    def on_write_complete(self, write_result: WriteResult[list[str]]) -> None:
        """Delete what attempts of this write left behind that died and whose repetition made other files."""
        first = next(
            (getattr(result, "write_uuid", None) for result in write_result.write_returns if result), None
        )
        if first is None or not self._named_by_task:
            return
        kept = {path for result in write_result.write_returns for path in result}
        folders = {posixpath.dirname(path) for path in kept}
        for folder in folders:
            for info in self.filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True)):
                if info.path not in kept and first in posixpath.basename(info.path):
                    self.filesystem.delete_file(info.path)

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> list[str]:
        """Write the task's files; gives their paths."""
        made = Written(ctx.write_uuid)
        for number, block in enumerate(self._pieces(blocks)):
            made.extend(self._write_parts(block, ctx, number))
        return made

    def _pieces(self, blocks: Iterable[Block]) -> Iterator[Block]:
        for block in sized(blocks, FILE_BYTES):
            step = self.max_rows_per_file or block.num_rows
            yield from (block.slice(start, step) for start in range(0, block.num_rows, step or 1))

    def _write_parts(self, block: Block, ctx: TaskContext, number: int) -> Iterator[str]:
        if not self.partition_cols:
            yield from self.write_files(block, self.path, ctx, number)
            return
        missing = [c for c in self.partition_cols if c not in block.column_names]
        if missing:
            raise ValueError(f"cannot partition: {unknown(missing, block.column_names)}")
        ids, keys = grouping.group(block, self.partition_cols)
        rest = block.drop_columns(self.partition_cols)
        for key, part in zip(
            blk.iter_rows(keys), grouping.split_by_id(rest, ids, keys.num_rows), strict=True
        ):
            folder = posixpath.join(self.path, *(f"{k}={_folder(v)}" for k, v in key.items()))
            if not _is_s3(self.filesystem):
                self.filesystem.create_dir(folder, recursive=True)
            yield from self.write_files(part, folder, ctx, number)

    def write_files(self, block: Block, folder: str, ctx: TaskContext, number: int) -> Iterator[str]:
        """Write a block's files into a folder; gives their paths."""
        raise NotImplementedError

    def _save(self, target: str, write: Any) -> str:
        if not isinstance(self.filesystem, fs.LocalFileSystem):
            retried(lambda: self._save_at(target, write), self._retried)
            return target
        folder, name = posixpath.split(target)
        partial = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}.partial"
        try:
            self._save_at(partial, write)
            self.filesystem.move(partial, target)
        except BaseException:
            if self.filesystem.get_file_info(partial).type != fs.FileType.NotFound:
                self.filesystem.delete_file(partial)
            raise
        return target

    def open_output_stream(self, path: str) -> Any:
        """A stream to a new file."""
        return self.filesystem.open_output_stream(path, **self.open_stream_args)

    def write_block(self, block: Any, block_index: int, ctx: TaskContext) -> None:
        """Write a block's files into the folder."""
        list(self.write_files(blk.from_batch(block), self.path, ctx, block_index))

    def _save_at(self, target: str, write: Any) -> None:
        with self.open_output_stream(target) as stream:
            write(stream)


def _is_s3(system: fs.FileSystem) -> bool:
    """Whether it is S3, where folders come with their first file."""
    return system.type_name == "s3"


def _folder(value: Any) -> str:
    return "__HIVE_DEFAULT_PARTITION__" if value is None else quote(str(value), safe=" ")


class BlockBasedFileDatasink(_FileDatasink):
    """A file a block; override `write_block_to_file`.

    Args:
        min_rows_per_file, min_bytes_per_file: put blocks together until there are so many. The rest: see
            `_FileDatasink`.
    """

    def __init__(
        self,
        path: str,
        *,
        min_rows_per_file: int | None = None,
        min_bytes_per_file: int | None = None,
        **file_datasink_kwargs: Any,
    ):
        super().__init__(path, **file_datasink_kwargs)
        self.min_rows_per_file, self.min_bytes_per_file = min_rows_per_file, min_bytes_per_file

    @property
    def min_bytes_per_write(self) -> int | None:
        return self.min_bytes_per_file

    @property
    def min_rows_per_write(self) -> int | None:
        return self.min_rows_per_file

    def write_block_to_file(self, block: Any, file: Any) -> None:
        """Write a block, wrapped as `BlockAccessor`, to an open stream."""
        raise NotImplementedError(f"{type(self).__name__} must define write_block_to_file(block, file)")

    def write_files(self, block: Block, folder: str, ctx: TaskContext, number: int) -> Iterator[str]:
        from narke.data.block import BlockAccessor

        name = self.filename_provider.get_filename_for_block(block, ctx.write_uuid, ctx.task_idx, number)
        accessor = BlockAccessor.for_block(block)
        yield self._save(f"{folder}/{name}", lambda stream: self.write_block_to_file(accessor, stream))


class RowBasedFileDatasink(_FileDatasink):
    """A file a row; override `write_row_to_file`."""

    def write_row_to_file(self, row: dict[str, Any], file: Any) -> None:
        """Write a row to an open stream."""
        raise NotImplementedError(f"{type(self).__name__} must define write_row_to_file(row, file)")

    def write_files(self, block: Block, folder: str, ctx: TaskContext, number: int) -> Iterator[str]:
        name_of = self.filename_provider.get_filename_for_row
        for place, row in enumerate(blk.iter_rows(block)):
            name = name_of(row, ctx.write_uuid, ctx.task_idx, number, place)
            yield self._save(f"{folder}/{name}", lambda stream, row=row: self.write_row_to_file(row, stream))


class FunctionSink(BlockBasedFileDatasink):
    """A sink whose files a function of block and stream writes."""

    def __init__(self, path: str, write: Any, **options: Any):
        super().__init__(path, **options)
        self._write_function = write

    def get_name(self) -> str:
        return str(self.file_format or "File").capitalize()

    def write_block_to_file(self, block: Any, file: Any) -> None:
        self._write_function(block.to_arrow(), file)


class ImageSink(RowBasedFileDatasink):
    """Image files, one a row, of a column of arrays; needs Pillow."""

    def __init__(self, path: str, column: str, **options: Any):
        super().__init__(path, **options)
        self._column = column

    def get_name(self) -> str:
        return "Images"

    def write_row_to_file(self, row: dict[str, Any], file: Any) -> None:
        import io

        from PIL import Image

        held = io.BytesIO()
        kind = {"jpg": "JPEG"}.get(str(self.file_format).lower(), self.file_format)
        Image.fromarray(columns.to_numpy(columns.to_arrow([row[self._column]]))[0]).save(held, format=kind)
        file.write(held.getvalue())
