"""Settings of datasets: one `DataContext` per process, copied into each dataset when it is made."""

from __future__ import annotations

import copy
import dataclasses
import threading
from typing import Any

DEFAULT_TARGET_MAX_BLOCK_SIZE = 128 * 1024 * 1024
DEFAULT_TARGET_MIN_BLOCK_SIZE = 1024 * 1024
STORE_FRACTION = 0.25

NodeIdStr = str


@dataclasses.dataclass
class ExecutionResources:
    """Amounts an execution may use; None leaves an amount to the cluster.

    Args:
        cpu, gpu: number of them.
        memory: bytes of worker memory.
        object_store_memory: bytes of the object store.
    """

    cpu: float | None = None
    gpu: float | None = None
    memory: float | None = None
    object_store_memory: float | None = None


@dataclasses.dataclass
class ExecutionOptions:
    """How the executor runs a dataset.

    Args:
        resource_limits: upper bounds; `cpu` bounds the tasks in flight, `object_store_memory` the bytes queued.
        preserve_order: accepted for Ray's programs; blocks always come out in order here.
        verbose_progress: accepted for Ray's programs; nothing is printed here.
    """

    resource_limits: ExecutionResources = dataclasses.field(default_factory=ExecutionResources)
    preserve_order: bool = False
    verbose_progress: bool = False


@dataclasses.dataclass
class DataContext:
    """Settings that a dataset takes with it when it is made.

    Args:
        target_max_block_size: bytes above which a task starts another block.
        target_min_block_size: bytes below which a read is not split further.
        read_op_min_num_blocks: most read tasks that are made only to spread work over CPUs.
        default_hash_shuffle_parallelism: most partitions of a grouping when none are asked for.
        execution_options: bounds of the executor.
        enable_progress_bars: show a line of progress on a terminal.
        max_tasks_in_flight_per_actor: calls queued at each actor of a pool; None gives two.
        max_errored_blocks: blocks that may be lost to errors of functions and files; negative: any number.
    """

    target_max_block_size: int = DEFAULT_TARGET_MAX_BLOCK_SIZE
    target_min_block_size: int = DEFAULT_TARGET_MIN_BLOCK_SIZE
    read_op_min_num_blocks: int = 200
    default_hash_shuffle_parallelism: int = 200
    execution_options: ExecutionOptions = dataclasses.field(default_factory=ExecutionOptions)
    enable_progress_bars: bool = True
    max_tasks_in_flight_per_actor: int | None = None
    max_errored_blocks: int = 0
    _config: dict[str, Any] = dataclasses.field(default_factory=dict)

    @staticmethod
    def get_current() -> DataContext:
        """This process's settings; change them in place."""
        global _current
        with _lock:
            if _current is None:
                _current = DataContext()
            return _current

    def copy(self) -> DataContext:
        """A deep copy."""
        return copy.deepcopy(self)

    def get_config(self, key: str, default: Any = None) -> Any:
        """The value kept under `key` by `set_config`, else `default`."""
        return self._config.get(key, default)

    def set_config(self, key: str, value: Any) -> None:
        """Keep a value that a data source or a function of the user's reads later."""
        self._config[key] = value

    def remove_config(self, key: str) -> None:
        """Forget the value under `key`; nothing happens when there is none."""
        self._config.pop(key, None)


DatasetContext = DataContext
_current: DataContext | None = None
_lock = threading.Lock()
