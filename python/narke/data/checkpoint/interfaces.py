"""What users say of checkpoints, and the errors of saying it wrongly."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from pyarrow import fs

from narke.data.datasource import paths


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
        override_backend, write_num_threads: accepted for Ray's programs; the path says where, a task writes one.
        checkpoint_path_partition_filter: `PathPartitionFilter` that chooses among the notes.
        checkpoint_filter_cls, checkpoint_manager_cls: subclasses of `CheckpointFilter`, `CheckpointManager` to use.
    """

    id_column: str | None = None
    checkpoint_path: str | None = None
    delete_checkpoint_on_success: bool = dataclasses.field(default=True, kw_only=True)
    override_filesystem: Any = dataclasses.field(default=None, kw_only=True)
    override_backend: CheckpointBackend | None = dataclasses.field(default=None, kw_only=True)
    write_num_threads: int = dataclasses.field(default=3, kw_only=True)
    checkpoint_path_partition_filter: Any = dataclasses.field(default=None, kw_only=True)
    checkpoint_filter_cls: Any = dataclasses.field(default=None, kw_only=True)
    checkpoint_manager_cls: Any = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        from narke.data.checkpoint import checkpoint_filter

        if not isinstance(self.id_column, str) or not self.id_column:
            raise InvalidCheckpointingConfig("CheckpointConfig: id_column must be the name of a column")
        if not self.checkpoint_path:
            raise InvalidCheckpointingConfig("CheckpointConfig: checkpoint_path must be a folder")
        _check_class(self, "checkpoint_filter_cls", checkpoint_filter.CheckpointFilter)
        _check_class(self, "checkpoint_manager_cls", checkpoint_filter.CheckpointManager)

    def folder(self) -> tuple[fs.FileSystem, str]:
        """The filesystem of the notes, and their folder in it."""
        return paths.resolve(str(self.checkpoint_path), self.override_filesystem)

    def forget(self) -> None:
        """Delete all notes."""
        system, folder = self.folder()
        if system.get_file_info(folder).type == fs.FileType.Directory:
            system.delete_dir(folder)


def _check_class(config: CheckpointConfig, name: str, base: type) -> None:
    cls = getattr(config, name)
    if cls is not None and not (isinstance(cls, type) and issubclass(cls, base)):
        raise InvalidCheckpointingConfig(
            f"CheckpointConfig: {name} must be a subclass of {base.__name__}, not {cls!r}"
        )
