"""Jobs that go on where they stopped: what was written is remembered by the values of a key column.

With `DataContext.checkpoint_config` set, each writing task notes the keys of the rows that it wrote, in a Parquet file
of its own, once they are written. A job that is started again leaves those rows out as soon as they are read. One that
dies between a task's write and its note has written that task's rows and does not know: they are written again.
"""

from __future__ import annotations

import dataclasses
import enum
import io
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from narke.data import blocks as blk
from narke.data.blocks import Block
from narke.data.datasource import paths
from narke.data.datasource.datasink import Datasink, TaskContext, WriteResult
from narke.data.plan import Map, Node, Read
from narke.data.transforms import Step


class InvalidCheckpointingConfig(Exception):
    """A `CheckpointConfig` that cannot work."""


class InvalidCheckpointingOperators(Exception):
    """A dataset that cannot be resumed: it is not a chain of maps over one source."""


class CheckpointBackend(enum.Enum):
    """Where notes are kept; here the path says it."""

    CLOUD_OBJECT_STORAGE = "CLOUD_OBJECT_STORAGE"
    FILE_STORAGE = "FILE_STORAGE"


@dataclasses.dataclass
class CheckpointConfig:
    """How a job's writes are remembered.

    Args:
        id_column: column of the source whose values differ in all rows, and which reaches the sink.
        checkpoint_path: folder of the notes, or URI of one.
        delete_checkpoint_on_success: forget them when the job is done.
        override_filesystem: pyarrow filesystem of the path.
        override_backend: accepted for Ray's programs; the path says where.
    """

    id_column: str | None = None
    checkpoint_path: str | None = None
    delete_checkpoint_on_success: bool = True
    override_filesystem: Any = None
    override_backend: CheckpointBackend | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id_column, str) or not self.id_column:
            raise InvalidCheckpointingConfig("CheckpointConfig: id_column must be the name of a column")
        if not self.checkpoint_path:
            raise InvalidCheckpointingConfig("CheckpointConfig: checkpoint_path must be a folder")

    def _folder(self) -> tuple[fs.FileSystem, str]:
        return paths.resolve(str(self.checkpoint_path), self.override_filesystem)

    def written(self) -> pa.Array:
        """The keys of the rows that earlier runs wrote."""
        import pyarrow.parquet as pq

        system, folder = self._folder()
        found = system.get_file_info(fs.FileSelector(folder, allow_not_found=True))
        tables = []
        for info in found:
            if info.path.endswith(".parquet"):
                with system.open_input_file(info.path) as stream:
                    tables.append(pq.read_table(stream))
        if not tables:
            return pa.nulls(0)
        return blk.whole(blk.concat(tables)).column(0).combine_chunks()

    def note(self, name: str, keys: pa.Table) -> None:
        """Remember keys under a name; again puts them in the place of the former."""
        import pyarrow.parquet as pq

        system, folder = self._folder()
        system.create_dir(folder, recursive=True)
        held = io.BytesIO()
        pq.write_table(keys, held)
        local = isinstance(system, fs.LocalFileSystem)
        target = f"{folder}/{name}.parquet"
        with system.open_output_stream(f"{target}.partial" if local else target) as stream:
            stream.write(held.getvalue())
        if local:
            system.move(f"{target}.partial", target)

    def forget(self) -> None:
        """Delete all notes."""
        system, folder = self._folder()
        if system.get_file_info(folder).type == fs.FileType.Directory:
            system.delete_dir(folder)


class _NotWritten:
    """A step that leaves out rows whose keys were written."""

    __name__ = "CheckpointFilter"

    def __init__(self, column: str, ref: Any):
        self._column, self._ref = column, ref

    def __call__(self, index: int, blocks: Iterable[Block]) -> Iterator[Block]:
        import narke

        written = narke.get(self._ref)
        for block in blocks:
            if not block.num_rows:
                yield block
                continue
            if self._column not in block.column_names:
                raise ValueError(
                    f"the checkpoint's id_column {self._column!r} is not in the source: {block.column_names}"
                )
            keys = block.column(self._column)
            yield block.filter(pc.invert(pc.is_in(keys, value_set=written.cast(keys.type))))


class CheckpointSink(Datasink[Any]):
    """A sink that notes the keys of what another wrote."""

    def __init__(self, sink: Datasink[Any], config: CheckpointConfig):
        self._sink, self._config = sink, config

    def get_name(self) -> str:
        return self._sink.get_name()

    @property
    def min_rows_per_write(self) -> int | None:
        return self._sink.min_rows_per_write

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        self._sink.on_write_start(schema)

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> Any:
        column = self._config.id_column
        held = [block for block in blocks if block.num_rows]
        for block in held:
            if column not in block.column_names:
                raise ValueError(f"the checkpoint's id_column {column!r} did not reach the sink")
        result = self._sink.write(held, ctx)
        if held:
            keys = blk.concat([block.select([column]) for block in held])
            self._config.note(f"{ctx.write_uuid}_{ctx.task_idx:06}", keys)
        return result

    def on_write_complete(self, write_result: WriteResult[Any]) -> None:
        self._sink.on_write_complete(write_result)
        if self._config.delete_checkpoint_on_success:
            self._config.forget()

    def on_write_failed(self, error: Exception) -> None:
        self._sink.on_write_failed(error)


def resumed(plan: Node, config: CheckpointConfig) -> Node:
    """The plan without the rows that were written before.

    Raises:
        InvalidCheckpointingOperators: it is not a chain of maps over one source.
    """
    import narke

    if isinstance(plan, Read):
        written = config.written()
        if not len(written):
            return plan
        assert config.id_column is not None
        return Map((plan,), (Step("stream", _NotWritten(config.id_column, narke.put(written))),))
    if not isinstance(plan, Map):
        raise InvalidCheckpointingOperators(
            f"a job with a checkpoint must read one source, map and write; it cannot hold {plan.name}"
        )
    return dataclasses.replace(plan, inputs=(resumed(plan.inputs[0], config),))
