"""What earlier runs have written: loaded once, and left out of every block."""

from __future__ import annotations

import abc
import posixpath
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

import narke
from narke.data import blocks as blk
from narke.data import columns
from narke.data.blocks import Block
from narke.data.checkpoint.util import build_pending_checkpoint_trie
from narke.data.datasource.retry import retried

if TYPE_CHECKING:
    from narke.data.checkpoint.interfaces import CheckpointConfig

CHECKPOINT_RECOVERY_MAX_ATTEMPTS = 3
CHECKPOINT_RECOVERY_MAX_BACKOFF_S = 8
PENDING_ENDING = ".pending.parquet"


@narke.remote(num_returns=2)
def convert_and_sort_checkpointed_ids(
    checkpointed_ids_arrow: Block, id_column: str
) -> tuple[np.ndarray, int]:
    """The keys in order, and their bytes; texts as numpy's, so that they lie in the store as they are."""
    if not checkpointed_ids_arrow.num_rows:
        return np.array([]), 0
    keys = columns.to_numpy(checkpointed_ids_arrow.column(id_column))
    ordered = np.sort(keys.astype(str) if keys.dtype == object else keys)
    return ordered, ordered.nbytes


class CheckpointManager:
    """Loads what earlier runs noted; subclasses may change `_preprocess_data_pipeline`.

    Args:
        checkpoint_config: where the notes are. data_context: settings of the job.
    """

    def __init__(self, checkpoint_config: CheckpointConfig, data_context: Any):
        self.config, self._data_context = checkpoint_config, data_context
        self.id_column = checkpoint_config.id_column
        self.filesystem, self.folder = checkpoint_config.folder()

    def load_checkpoint(
        self, data_file_dir: str | None = None, data_file_filesystem: Any = None
    ) -> tuple[Any, int]:
        """Take back what tasks left half done, and load the keys of the others.

        Args:
            data_file_dir: folder of the job's files, if it writes files: those of pending notes are deleted.
            data_file_filesystem: of that folder; by default that of the notes.

        Returns:
            (reference to the keys in order, bytes); (None, 0) when there are none.
        """
        return retried(
            lambda: self._load(data_file_dir, data_file_filesystem or self.filesystem),
            ("",),
            attempts=CHECKPOINT_RECOVERY_MAX_ATTEMPTS,
            longest_wait_s=CHECKPOINT_RECOVERY_MAX_BACKOFF_S,
        )

    def _load(self, data_dir: str | None, data_system: fs.FileSystem) -> tuple[Any, int]:
        notes = self._notes()
        pending = [path for path in notes if path.endswith(PENDING_ENDING)]
        self._take_back(pending, data_dir, data_system)
        chosen = self.config.checkpoint_path_partition_filter
        rest = [path for path in notes if path not in set(pending) and (chosen is None or chosen.apply(path))]
        if not rest:
            return None, 0
        keys = self._preprocess_data_pipeline(self._read(rest))
        return self._stored(keys)

    def _notes(self) -> list[str]:
        found = self.filesystem.get_file_info(
            fs.FileSelector(self.folder, allow_not_found=True, recursive=True)
        )
        return [info.path for info in found if info.path.endswith(".parquet")]

    def _take_back(self, pending: list[str], data_dir: str | None, data_system: fs.FileSystem) -> None:
        """Delete the files of pending notes, then those notes, so that a stop in between loses nothing."""
        if pending and data_dir is not None:
            begun = build_pending_checkpoint_trie(pending, PENDING_ENDING)
            selector = fs.FileSelector(data_dir, allow_not_found=True, recursive=True)
            for info in data_system.get_file_info(selector):
                if info.type == fs.FileType.File and begun.has_prefix_of(posixpath.basename(info.path)):
                    data_system.delete_file(info.path)
        for path in pending:
            self.filesystem.delete_file(path)

    def _read(self, notes: list[str]) -> Block:
        tables = []
        for path in notes:
            with self.filesystem.open_input_file(path) as stream:
                tables.append(pq.read_table(stream, columns=[self.id_column]))
        return blk.whole(blk.concat(tables))

    def _preprocess_data_pipeline(self, keys: Block) -> Block:
        """A change of the keys before they are put in order."""
        return keys

    def _stored(self, keys: Block) -> tuple[Any, int]:
        ids, size = convert_and_sort_checkpointed_ids.remote(keys, self.id_column)
        return ids, narke.get(size)


class IdColumnCheckpointManager(CheckpointManager):
    """The manager of notes that are keys of one column."""


class CheckpointFilter(abc.ABC):
    """Base of what leaves written rows out; built once in each task.

    Args:
        config: where the notes are. checkpoint_ref: what `CheckpointManager.load_checkpoint` gave.
    """

    def __init__(self, config: CheckpointConfig, checkpoint_ref: Any = None):
        self.ckpt_config, self.id_column, self.checkpoint_ref = config, config.id_column, checkpoint_ref

    @abc.abstractmethod
    def filter_rows_for_block(self, block: Block) -> Block:
        """The rows of a block that have not been written."""


class NumpyArrayBasedCheckpointFilter(CheckpointFilter):
    """Looks keys up in an array that is in order."""

    def __init__(self, checkpoint_config: CheckpointConfig, checkpoint_ref: Any):
        super().__init__(checkpoint_config, checkpoint_ref)
        self.checkpointed_ids = narke.get(checkpoint_ref)

    def filter_rows_for_block(self, block: Block) -> Block:
        known = self.checkpointed_ids
        if not len(known) or not block.num_rows:
            return block
        keys = columns.to_numpy(block.column(self.id_column))
        if keys.dtype == object:
            keys = keys.astype(str)
        places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        return block.filter(pa.array(known[places] != keys))
