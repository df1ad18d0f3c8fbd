"""The checkpoint of an execution as a callback."""

from __future__ import annotations

from typing import Any

from narke.data.checkpoint.checkpoint_filter import IdColumnCheckpointManager
from narke.data.checkpoint.interfaces import CheckpointConfig
from narke.data.execute.callbacks import ExecutionCallback


class LoadCheckpointCallback(ExecutionCallback):
    """Loads the checkpoint before an execution, and forgets it after one that succeeds, if the configuration says so.

    `load_checkpoint` gives what was loaded, once the execution has begun.
    """

    def __init__(self, config: CheckpointConfig):
        self._config = config
        self._loaded: tuple[Any, int] = (None, 0)

    def before_execution_starts(self, executor: Any) -> None:
        manager = self._config.checkpoint_manager_cls or IdColumnCheckpointManager
        self._loaded = manager(self._config, executor).load_checkpoint()

    def after_execution_succeeds(self, executor: Any) -> None:
        if self._config.delete_checkpoint_on_success:
            self._config.forget()

    def after_execution_fails(self, executor: Any, error: Exception) -> None:
        """The notes stay for the next run."""

    def load_checkpoint(self) -> Any:
        """Reference to the keys that were written before; None when there are none."""
        return self._loaded[0]
