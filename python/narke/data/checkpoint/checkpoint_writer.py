"""Notes of what was written: pending while a task writes, committed when it is done."""

from __future__ import annotations

import abc
import dataclasses
import uuid
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from narke.data.block import BlockAccessor
from narke.data.checkpoint.interfaces import CheckpointConfig

PENDING_CHECKPOINT_SUFFIX = ".pending"


@dataclasses.dataclass
class PendingCheckpoint:
    """A note that does not count yet: where it is, and where it will be when it does."""

    pending_path: str
    committed_path: str


class CheckpointWriter(abc.ABC):
    """Base of what writes notes."""

    def __init__(self, config: CheckpointConfig):
        self.config = config
        self.id_column = config.id_column
        self.filesystem, self.folder = config.folder()

    @staticmethod
    def create(config: CheckpointConfig) -> CheckpointWriter:
        """The writer of a configuration."""
        return BatchBasedCheckpointWriter(config)

    @abc.abstractmethod
    def write_block_checkpoint(self, block: BlockAccessor) -> None:
        """Note a block whose rows are written."""

    @abc.abstractmethod
    def write_pending_checkpoint(self, id_column_data: Any, checkpoint_id: str) -> PendingCheckpoint | None:
        """Note keys whose rows are about to be written to files whose names begin with an id.

        Returns:
            what `commit_checkpoint` takes; None when there are no keys.
        """

    @abc.abstractmethod
    def commit_checkpoint(self, pending: PendingCheckpoint) -> None:
        """Let a note count."""


class BatchBasedCheckpointWriter(CheckpointWriter):
    """Notes that are Parquet files of keys."""

    def write_block_checkpoint(self, block: BlockAccessor) -> None:
        if block.num_rows():
            keys = block.to_arrow().select([self.id_column])
            self._write(keys, f"{self.folder}/{uuid.uuid4().hex}.parquet")

    def write_pending_checkpoint(self, id_column_data: Any, checkpoint_id: str) -> PendingCheckpoint | None:
        if not len(id_column_data):
            return None
        base = f"{self.folder}/{checkpoint_id}"
        pending = PendingCheckpoint(f"{base}{PENDING_CHECKPOINT_SUFFIX}.parquet", f"{base}.parquet")
        self._write(pa.table({self.id_column: id_column_data}), pending.pending_path)
        return pending

    def commit_checkpoint(self, pending: PendingCheckpoint) -> None:
        self.filesystem.move(pending.pending_path, pending.committed_path)

    def _write(self, keys: pa.Table, path: str) -> None:
        """Write a file that appears when it is whole; object stores show no others."""
        self.filesystem.create_dir(self.folder, recursive=True)
        local = isinstance(self.filesystem, fs.LocalFileSystem)
        first = f"{path}.partial" if local else path
        with self.filesystem.open_output_stream(first) as stream:
            pq.write_table(keys, stream)
        if local:
            self.filesystem.move(first, path)
