"""Settings of datasets: one `DataContext` per process, copied into each dataset when it is made."""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
import math
import operator
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from narke.data.ray_settings import RaySettings, ShuffleStrategy
from narke.data.table_settings import AutoscalingConfig, DeltaConfig, IcebergConfig, LanceConfig

__all__ = [
    "AutoscalingConfig",
    "DataContext",
    "DatasetContext",
    "DeltaConfig",
    "ExecutionOptions",
    "ExecutionResources",
    "IcebergConfig",
    "LanceConfig",
    "NodeIdStr",
    "RaySettings",
    "ShuffleStrategy",
]

DEFAULT_TARGET_MAX_BLOCK_SIZE = 128 * 1024 * 1024
DEFAULT_TARGET_MIN_BLOCK_SIZE = 1024 * 1024
STORE_FRACTION = 0.25

NodeIdStr = str


@dataclasses.dataclass
class ExecutionResources:
    """Amounts an execution may use; None leaves an amount to the cluster.

    Args:
        cpu, gpu: number of them.
        object_store_memory: bytes of the object store.
        memory: bytes of worker memory.
    """

    cpu: float | None = None
    gpu: float | None = None
    object_store_memory: float | None = None
    memory: float | None = None

    @classmethod
    def zero(cls) -> ExecutionResources:
        """Nothing."""
        return cls(0.0, 0.0, 0.0, 0.0)

    @classmethod
    def inf(cls) -> ExecutionResources:
        """No bound."""
        return cls(math.inf, math.inf, math.inf, math.inf)

    @classmethod
    def for_limits(
        cls,
        cpu: float | None = None,
        gpu: float | None = None,
        object_store_memory: float | None = None,
        memory: float | None = None,
    ) -> ExecutionResources:
        """Bounds; what is not given has none."""
        given = (cpu, gpu, object_store_memory, memory)
        return cls(*(math.inf if value is None else value for value in given))

    @classmethod
    def from_resource_dict(cls, resource_dict: dict[str, float]) -> ExecutionResources:
        """From the options of a task ("num_cpus" and so on)."""
        names = ("num_cpus", "num_gpus", "object_store_memory", "memory")
        return cls(*(resource_dict.get(name) or 0.0 for name in names))

    def to_resource_dict(self) -> dict[str, float]:
        """As options of a task, without what is not given."""
        given = {"num_cpus": self.cpu, "num_gpus": self.gpu, "memory": self.memory}
        return {name: value for name, value in given.items() if value is not None}

    def copy(self, **changes: float) -> ExecutionResources:
        """The same, with some amounts changed."""
        return dataclasses.replace(self, **changes)

    def add(self, other: ExecutionResources) -> ExecutionResources:
        """The sums."""
        return self._with(other, operator.add)

    @classmethod
    def combine_sum(cls, resources: Iterable[ExecutionResources]) -> ExecutionResources:
        """The sums of several."""
        return cls.combine(resources, operator.add) or cls.zero()

    @classmethod
    def combine(
        cls, resources: Iterable[ExecutionResources], fn: Callable[[float, float], float]
    ) -> ExecutionResources | None:
        """Amounts of several, put together two by two by a function; None when there are none."""
        found = list(resources)
        return functools.reduce(lambda a, b: a._with(b, fn), found) if found else None

    def subtract(self, other: ExecutionResources) -> ExecutionResources:
        """The differences."""
        return self._with(other, lambda a, b: a - b)

    def max(self, other: ExecutionResources) -> ExecutionResources:
        """The greater of each."""
        return self._with(other, max)

    def min(self, other: ExecutionResources) -> ExecutionResources:
        """The lesser of each."""
        return self._with(other, min)

    def scale(self, f: float) -> ExecutionResources:
        """So many times."""
        return self._with(self, lambda a, _: a * f)

    def floordiv(self, other: ExecutionResources) -> ExecutionResources:
        """How often each of another's fits; without bound where it takes nothing."""
        return self._with(other, lambda a, b: a // b if b else math.inf)

    def satisfies_limit(self, limit: ExecutionResources, *, ignore_object_store_memory: bool = False) -> bool:
        """Whether nothing is above a bound; None bounds nothing."""
        bounds = dataclasses.replace(limit, object_store_memory=None) if ignore_object_store_memory else limit
        pairs = zip(_amounts(self), dataclasses.astuple(bounds), strict=True)
        return all(most is None or amount <= most for amount, most in pairs)

    def is_zero(self) -> bool:
        """Whether there is nothing."""
        return not any(_amounts(self))

    def is_non_negative(self) -> bool:
        """Whether nothing is below 0."""
        return all(amount >= 0 for amount in _amounts(self))

    def object_store_memory_str(self) -> str:
        """Bytes of the object store, for people."""
        return _size(self.object_store_memory)

    def memory_str(self) -> str:
        """Bytes of worker memory, for people."""
        return _size(self.memory)

    def _with(
        self, other: ExecutionResources, combine: Callable[[float, float], float]
    ) -> ExecutionResources:
        pairs = zip(_amounts(self), _amounts(other), strict=True)
        return ExecutionResources(*(combine(a, b) for a, b in pairs))


def _amounts(resources: ExecutionResources) -> tuple[float, ...]:
    return tuple(value or 0.0 for value in dataclasses.astuple(resources))


def _size(size: float | None) -> str:
    if size is None or size == math.inf:
        return "inf" if size else "0.0B"
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.1f}{unit}"
        size /= 1024
    return f"{size:.1f}GiB"


# Key of `DataContext.set_config`: the dataset is read by workers that may hold all CPUs; its tasks then hold none.
BESIDE_CONSUMERS = "narke.beside_consumers"


@dataclasses.dataclass
class ExecutionOptions:
    """How the executor runs a dataset.

    Args:
        resource_limits: upper bounds; `cpu` bounds the tasks in flight, `object_store_memory` the bytes queued.
        exclude_resources: taken off what the cluster has.
        preserve_order: accepted for Ray's programs; blocks always come out in order here.
        actor_locality_enabled, locality_with_output: accepted for Ray's programs; of no consequence on one machine.
        verbose_progress: accepted for Ray's programs; progress has one form here.
        label_selector: labels of the nodes that all tasks go to.
    """

    resource_limits: ExecutionResources = dataclasses.field(default_factory=ExecutionResources)
    exclude_resources: ExecutionResources = dataclasses.field(default_factory=ExecutionResources)
    preserve_order: bool = False
    actor_locality_enabled: bool = True
    verbose_progress: bool | None = None
    label_selector: dict[str, str] | None = None
    locality_with_output: Any = False

    def is_resource_limits_default(self) -> bool:
        """Whether there are no upper bounds."""
        return all(value is None for value in dataclasses.astuple(self.resource_limits))

    def validate(self) -> None:
        """Raises ValueError when an amount is both bounded and excluded."""
        for field in dataclasses.fields(ExecutionResources):
            limit = getattr(self.resource_limits, field.name)
            if limit is not None and getattr(self.exclude_resources, field.name):
                raise ValueError(
                    f"ExecutionOptions: {field.name} is both limited and excluded; do one of them"
                )


RETRIED_IO_ERRORS = (
    "AWS Error INTERNAL_FAILURE", "AWS Error NETWORK_CONNECTION", "AWS Error SLOW_DOWN",
    "AWS Error UNKNOWN (HTTP status 503)", "AWS Error SERVICE_UNAVAILABLE", "curlCode: 6, Couldn't resolve host name",
    "Couldn't connect to server", "Connection reset by peer",
)  # fmt: skip


@dataclasses.dataclass
class DataContext(RaySettings):
    """Settings that a dataset takes with it when it is made; those of `RaySettings` have no effect.

    Args:
        target_max_block_size: bytes above which a task starts another block.
        target_min_block_size: bytes below which a read is not split further.
        read_op_min_num_blocks: most read tasks that are made only to spread work over CPUs.
        default_hash_shuffle_parallelism: most partitions of a grouping when none are asked for.
        execution_options: bounds of the executor.
        enable_progress_bars: show a line of progress on a terminal.
        max_tasks_in_flight_per_actor: calls queued at each actor of a pool; None gives two.
        max_errored_blocks: blocks that may be lost to errors of functions and files; negative: any number.
        retried_map_errors: True, or exception classes, of users' functions after which a task runs again.
        max_map_retries: how often it does.
        retried_io_errors, write_file_retry_on_errors: texts of errors after which a file is read or written again.
        override_object_store_memory_limit_fraction: share of the object store that waiting blocks may take.
        checkpoint_config: `narke.data.checkpoint.CheckpointConfig` by which writes can be resumed.
        autoscaling_config: when pools of actors grow and shrink.
        lance_config, iceberg_config, delta_config: attempts at tables of those systems.
        actor_init_retry_on_errors: True, or exception classes, of a class's constructor after which an actor builds it
            again, up to `actor_init_max_retries` times. actor_task_retry_on_errors: the same of its calls.
        wait_for_min_actors_s: seconds to wait for the least number of actors of each pool before anything runs; an
            error after that. Negative: do not wait.
        execution_no_progress_timeout_s: seconds without a task that ends or a block that comes, after which an
            execution fails; 0 or less: never.
        raise_original_map_exception: raise what a function raised itself, without the task's description.
        enable_auto_log_stats: log what each operator did when an execution ends.
        print_on_execution_start: log that an execution begins.
        custom_execution_callback_classes: built for each execution; see `execute.callbacks`.
        s3_try_create_dir: writers make folders on S3, too, which needs none.
        speculation_factor: a task that has run so many times longer than the median of its operator is started a second
            time where there is room, and whichever ends first counts; 0 or less: never.
    """

    target_max_block_size: int = DEFAULT_TARGET_MAX_BLOCK_SIZE
    target_min_block_size: int = DEFAULT_TARGET_MIN_BLOCK_SIZE
    read_op_min_num_blocks: int = 200
    default_hash_shuffle_parallelism: int = 200
    execution_options: ExecutionOptions = dataclasses.field(default_factory=ExecutionOptions)
    enable_progress_bars: bool = True
    max_tasks_in_flight_per_actor: int | None = None
    max_errored_blocks: int = 0
    retried_map_errors: Any = False
    max_map_retries: int = 0
    retried_io_errors: list[str] = dataclasses.field(default_factory=lambda: list(RETRIED_IO_ERRORS))
    write_file_retry_on_errors: tuple[str, ...] = RETRIED_IO_ERRORS[:4]
    override_object_store_memory_limit_fraction: float | None = None
    checkpoint_config: Any = None
    autoscaling_config: AutoscalingConfig = dataclasses.field(default_factory=AutoscalingConfig)
    lance_config: LanceConfig = dataclasses.field(default_factory=LanceConfig)
    iceberg_config: IcebergConfig = dataclasses.field(default_factory=IcebergConfig)
    delta_config: DeltaConfig = dataclasses.field(default_factory=DeltaConfig)
    actor_init_retry_on_errors: Any = False
    actor_init_max_retries: int = 3
    actor_task_retry_on_errors: Any = False
    wait_for_min_actors_s: int = -1
    execution_no_progress_timeout_s: float = 1800
    raise_original_map_exception: bool = False
    enable_auto_log_stats: bool = False
    print_on_execution_start: bool = False
    custom_execution_callback_classes: list[Any] = dataclasses.field(default_factory=list)
    s3_try_create_dir: bool = False
    dataset_logger_id: str | None = None
    speculation_factor: float = 4.0
    _config: dict[str, Any] = dataclasses.field(default_factory=dict)

    @staticmethod
    def get_current() -> DataContext:
        """This process's settings; change them in place."""
        global _current
        with _lock:
            if _current is None:
                _current = DataContext()
            return _current

    @staticmethod
    def current(context: DataContext) -> _Current:
        """A `with` block in which another context is this process's."""
        return _Current(context)

    @staticmethod
    def _set_current(context: DataContext | None) -> DataContext | None:
        global _current
        with _lock:
            before, _current = _current, context
            return before

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

    def set_dataset_logger_id(self, dataset_id: str | None) -> str | None:
        """Begin the log lines of executions with an id; gives the id of before."""
        before, self.dataset_logger_id = self.dataset_logger_id, dataset_id
        return before

    @property
    def execution_callback_classes(self) -> list[Any]:
        """The classes built for each execution: those set here, and those that `EXECUTION_CALLBACKS_ENV_VAR` names."""
        named = os.environ.get(EXECUTION_CALLBACKS_ENV_VAR, "").split(",")
        return [*self.custom_execution_callback_classes, *(_imported(n.strip()) for n in named if n.strip())]

    @property
    def enable_ray_data_reconstruction(self) -> bool:
        """Whether datasets make lost blocks again by themselves: never, the engine does."""
        return False


class _Current:
    def __init__(self, context: DataContext):
        self._context = context
        self._before: DataContext | None = None

    def __enter__(self) -> DataContext:
        self._before = DataContext._set_current(self._context)
        return self._context

    def __exit__(self, *error: object) -> None:
        DataContext._set_current(self._before)


def _imported(path: str) -> Any:
    """The object at "package.module.name"."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _renamed(old: str, new: str) -> property:
    """A property under a former name of Ray's."""

    def get(self: DataContext) -> Any:
        return getattr(self, new)

    def put(self: DataContext, value: Any) -> None:
        setattr(self, new, value)

    return property(get, put, doc=f"Former name of `{new}`.")


for _old, _new in (
    ("hash_shuffle_compression", "shuffle_compression"),
    ("use_external_hash_shuffle", "use_disk_based_hash_shuffle"),
):
    setattr(DataContext, _old, _renamed(_old, _new))

DatasetContext = DataContext
EXECUTION_CALLBACKS_ENV_VAR = "RAY_DATA_EXECUTION_CALLBACKS"
LEGACY_DEFAULT_BATCH_SIZE = 1024
MAX_SAFE_BLOCK_SIZE_FACTOR = 1.5
OK_PREFIX, WARN_PREFIX = "✔️ ", "⚠️ "
_DEFAULTS_OF_TABLES = {
    "ACTOR_POOL_": (AutoscalingConfig, "actor_pool_"),
    "DELTA_": (DeltaConfig, ""),
    "ICEBERG_": (IcebergConfig, ""),
    "LANCE_": (LanceConfig, ""),
}
_DEFAULTS_CALLED_OTHERWISE = {
    "AUTO_LOG_STATS": "enable_auto_log_stats",
    "DECODING_SIZE_ESTIMATION_ENABLED": "decoding_size_estimation",
    "ENABLE_OP_RESOURCE_RESERVATION": "op_resource_reservation_enabled",
    "ENABLE_DISK_SHUFFLE": "use_disk_based_hash_shuffle",
    "RAY_DATA_RAISE_ORIGINAL_MAP_EXCEPTION": "raise_original_map_exception",
    "VERBOSE_STATS_LOG": "verbose_stats_logs",
}
_DEFAULTS_OF_NO_SETTING = {
    "ACTOR_MAX_TASKS_IN_FLIGHT_TO_MAX_CONCURRENCY_FACTOR": 2,
    "MAX_HASH_SHUFFLE_AGGREGATORS": 128,
    "MAX_NUM_BLOCKS_IN_STREAMING_GEN_BUFFER": 2,
    "SHUFFLE_TARGET_MAX_BLOCK_SIZE": 1024**3,
}


def _default_of(cls: Any, name: str) -> Any:
    """The default of a dataclass's field; None where there is no such field."""
    for field in dataclasses.fields(cls):
        if field.name == name:
            make: Any = field.default_factory
            value = field.default if make is dataclasses.MISSING else make()
            return tuple(value) if isinstance(value, list) else value
    raise AttributeError(f"no setting is called {name!r}")


def __getattr__(name: str) -> Any:
    """`DEFAULT_X`: the default of the setting `x`."""
    if not name.startswith("DEFAULT_"):
        raise AttributeError(f"narke.data.context has no {name!r}")
    rest = name.removeprefix("DEFAULT_")
    if rest in _DEFAULTS_OF_NO_SETTING:
        return _DEFAULTS_OF_NO_SETTING[rest]
    for prefix, (cls, kept) in _DEFAULTS_OF_TABLES.items():
        if rest.startswith(prefix):
            return _default_of(cls, kept + rest.removeprefix(prefix).lower())
    return _default_of(DataContext, _DEFAULTS_CALLED_OTHERWISE.get(rest, rest.lower()))


_current: DataContext | None = None
_lock = threading.Lock()
