"""Jobs that go on where they stopped: what was written is remembered by the values of a key column.

With `DataContext.checkpoint_config` set, each writing task notes the keys of its rows in a Parquet file of its own,
in two steps: the note is pending while the task writes, and counts once that is done. A job that is started again
deletes the files that tasks with pending notes left behind, forgets those notes, and leaves the rows of the others
out as soon as they are read. Sinks that are not files cannot take back what a dying task wrote: its rows come twice
there.
"""

from narke.data.checkpoint.checkpoint_filter import (
    CheckpointFilter,
    CheckpointManager,
    IdColumnCheckpointManager,
    NumpyArrayBasedCheckpointFilter,
)
from narke.data.checkpoint.interfaces import (
    CheckpointBackend,
    CheckpointConfig,
    InvalidCheckpointingConfig,
    InvalidCheckpointingOperators,
)

__all__ = [
    "CheckpointBackend",
    "CheckpointConfig",
    "CheckpointFilter",
    "CheckpointManager",
    "IdColumnCheckpointManager",
    "InvalidCheckpointingConfig",
    "InvalidCheckpointingOperators",
    "NumpyArrayBasedCheckpointFilter",
]
