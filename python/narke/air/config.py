"""Configurations of the first generation of Train, and of Tune.

`narke.train`'s own classes derive from these where Ray's do. All check their values when they are made; values that
are search spaces of Tune are let through.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    from narke.train._config import SyncConfig
    from narke.tune.execution.placement_groups import PlacementGroupFactory
    from narke.tune.search.sample import Domain

__all__ = [
    "MAX",
    "MIN",
    "CheckpointConfig",
    "DatasetConfig",
    "FailureConfig",
    "RunConfig",
    "SampleRange",
    "ScalingConfig",
]

MAX = "max"
MIN = "min"
# A search space where a plain value may stand too.
SampleRange = Union["Domain", dict[str, list]]
DEPRECATED = "DEPRECATED"


def brief(config: Any) -> str:
    """The repr of a dataclass with only the fields that differ from their defaults."""
    shown = []
    for each in fields(config):
        default = each.default_factory() if callable(each.default_factory) else each.default
        value = getattr(config, each.name)
        if value is default or value == default or _is_fresh(value):
            continue
        shown.append(f"{each.name}={value!r}")
    return f"{type(config).__name__}({', '.join(shown)})"


def _is_fresh(value: Any) -> bool:
    """Whether this is a configuration that nothing was set in."""
    return is_dataclass(value) and not isinstance(value, type) and value == type(value)()


@dataclass
class ScalingConfig:
    """How many workers train, and with what.

    Args:
        trainer_resources: what the trainer itself holds; one CPU beside workers that hold CPUs only.
        num_workers: workers, each a process with a rank.
        use_gpu: give each worker a GPU.
        resources_per_worker: what a worker holds; by default one GPU if `use_gpu`, else one CPU.
        placement_strategy: of the workers' placement group: PACK, SPREAD, STRICT_PACK, STRICT_SPREAD.
        accelerator_type: run on nodes with this accelerator.

    Raises:
        ValueError: resources contradict `use_gpu`.
    """

    trainer_resources: dict | Domain | dict[str, list] | None = None
    num_workers: Any = 1
    use_gpu: bool | Domain | dict[str, list] = False
    resources_per_worker: dict | Domain | dict[str, list] | None = None
    placement_strategy: str | Domain | dict[str, list] = "PACK"
    accelerator_type: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.resources_per_worker, dict):
            return
        gpus: Any = self.resources_per_worker.get("GPU", 0)
        if self.use_gpu is False and isinstance(gpus, (int, float)) and gpus > 0:
            raise ValueError(
                "ScalingConfig has use_gpu=False and 'GPU' in resources_per_worker: set use_gpu=True or leave 'GPU' out"
            )
        for name, amount in self.resources_per_worker.items():
            if isinstance(amount, (int, float)) and amount < 0:
                raise ValueError(
                    f"ScalingConfig.resources_per_worker[{name!r}] is {amount}; it must be at least 0"
                )

    __repr__ = brief

    @property
    def _resources_per_worker_not_none(self) -> dict[str, float]:
        resources: dict[str, Any] = dict(self.resources_per_worker or {})  # type: ignore[arg-type]
        if not resources:
            resources = {"GPU": 1} if self.use_gpu else {"CPU": 1}
        elif self.use_gpu:
            resources.setdefault("GPU", 1)
        if self.accelerator_type:
            resources.setdefault(f"accelerator_type:{self.accelerator_type}", 0.001)
        return {name: amount for name, amount in resources.items() if amount != 0}

    @property
    def _trainer_resources_not_none(self) -> dict[str, float]:
        if self.trainer_resources is None:
            return {"CPU": 1}
        resources: dict[str, Any] = self.trainer_resources  # type: ignore[assignment]
        return {name: amount for name, amount in resources.items() if amount != 0}

    @property
    def total_resources(self) -> dict[str, float]:
        """What trainer and workers hold together."""
        total = dict(self._trainer_resources_not_none)
        for name, amount in self._resources_per_worker_not_none.items():
            total[name] = total.get(name, 0) + amount * self.num_workers
        return total

    @property
    def num_cpus_per_worker(self) -> float:
        """CPUs of a worker."""
        return self._resources_per_worker_not_none.get("CPU", 0)

    @property
    def num_gpus_per_worker(self) -> float:
        """GPUs of a worker."""
        return self._resources_per_worker_not_none.get("GPU", 0)

    @property
    def additional_resources_per_worker(self) -> dict[str, float]:
        """What a worker holds besides CPUs and GPUs."""
        return {
            name: amount
            for name, amount in self._resources_per_worker_not_none.items()
            if name not in ("CPU", "GPU")
        }

    def as_placement_group_factory(self) -> PlacementGroupFactory:
        """The bundles of a trial with this trainer; the first holds the trainer and worker 0."""
        from narke.tune.execution.placement_groups import PlacementGroupFactory

        bundles = [dict(self._resources_per_worker_not_none) for _ in range(self.num_workers or 0)]
        head = dict(self._trainer_resources_not_none)
        if not bundles:
            return PlacementGroupFactory([head], strategy=self.placement_strategy)  # type: ignore[arg-type]
        for name, amount in head.items():
            bundles[0][name] = bundles[0].get(name, 0) + amount
        return PlacementGroupFactory(bundles, strategy=self.placement_strategy)  # type: ignore[arg-type]

    @classmethod
    def from_placement_group_factory(cls, pgf: PlacementGroupFactory) -> ScalingConfig:
        """The configuration whose bundles these are.

        Args:
            pgf: a head bundle and equal bundles of workers.
        """
        bundles = [dict(bundle) for bundle in pgf.bundles]
        worker = bundles[-1] if len(bundles) > 1 else {}
        head = bundles[0]
        return cls(
            trainer_resources={name: head[name] - worker.get(name, 0) for name in head},
            num_workers=len(bundles) if worker else 0,
            use_gpu=bool(worker.get("GPU", False)),
            resources_per_worker=worker or None,
            placement_strategy=pgf.strategy,
        )


@dataclass
class FailureConfig:
    """What happens when training or a trial fails.

    Args:
        max_failures: how often to begin again from the last checkpoint; -1 for ever.
        fail_fast: (Tune) True stops all trials at the first failure, "raise" raises it.

    Raises:
        ValueError: `fail_fast` is neither, or both are set.
    """

    max_failures: int = 0
    fail_fast: bool | str = False

    def __post_init__(self) -> None:
        if not (isinstance(self.fail_fast, bool) or str(self.fail_fast).upper() == "RAISE"):
            raise ValueError(
                f"FailureConfig.fail_fast is {self.fail_fast!r}; it must be True, False or 'raise'"
            )
        if self.fail_fast and self.max_failures != 0:
            raise ValueError(
                f"FailureConfig has fail_fast and max_failures={self.max_failures}: choose one of them"
            )

    __repr__ = brief


def check_retention(num_to_keep: int | None, order: str | None) -> None:
    """See that a CheckpointConfig says sensibly which checkpoints are kept.

    Args:
        num_to_keep: how many; None for all.
        order: "max" or "min".

    Raises:
        ValueError: a value is out of its range.
    """
    if num_to_keep is not None and num_to_keep <= 0:
        raise ValueError(f"CheckpointConfig.num_to_keep is {num_to_keep}; it must be None or at least 1")
    if order not in (MAX, MIN):
        raise ValueError(f"CheckpointConfig.checkpoint_score_order is {order!r}; it must be 'max' or 'min'")


@dataclass
class CheckpointConfig:
    """Which checkpoints are kept, and when they are made.

    Args:
        num_to_keep: how many to keep; None keeps all.
        checkpoint_score_attribute: metric that tells which are best; by default the latest are.
        checkpoint_score_order: "max" or "min".
        checkpoint_frequency: every how many iterations trainers that make checkpoints themselves make one; 0 never.
        checkpoint_at_end: whether these make one at the end too.

    Raises:
        ValueError: a value is out of its range.
    """

    num_to_keep: int | None = None
    checkpoint_score_attribute: str | None = None
    checkpoint_score_order: str | None = MAX
    checkpoint_frequency: int | None = 0
    checkpoint_at_end: bool | None = None
    _checkpoint_keep_all_ranks: Any = DEPRECATED
    _checkpoint_upload_from_workers: Any = DEPRECATED

    def __post_init__(self) -> None:
        check_retention(self.num_to_keep, self.checkpoint_score_order)
        if isinstance(self.checkpoint_frequency, int) and self.checkpoint_frequency < 0:
            raise ValueError(
                f"CheckpointConfig.checkpoint_frequency is {self.checkpoint_frequency}; it must be at least 0"
            )

    __repr__ = brief

    @property
    def _tune_legacy_checkpoint_score_attr(self) -> str | None:
        if self.checkpoint_score_attribute is None:
            return None
        return ("min-" if self.checkpoint_score_order == MIN else "") + self.checkpoint_score_attribute


def default_storage_path() -> str:
    """Where experiments are stored when nobody says: RAY_AIR_LOCAL_CACHE_DIR, else ray_results in the home folder."""
    return os.environ.get("RAY_AIR_LOCAL_CACHE_DIR") or os.path.expanduser("~/ray_results")


@dataclass
class RunConfig:
    """Name, storage and conduct of a run.

    Args:
        name: of the experiment, the folder below `storage_path`; made from the trainer's name and the time if None.
        storage_path: folder or URI for results; `default_storage_path` if None.
        storage_filesystem: pyarrow or fsspec filesystem on which `storage_path` lies.
        failure_config, checkpoint_config: see there.
        sync_config: uploading of artifacts.
        verbose: 0 shows nothing, 1 progress, 2 and more also results.
        stop: criteria to end a trial: {metric: value}, a function of (trial id, result), or a stopper.
        callbacks: of Tune, or `narke.train.UserCallback`s.
        progress_reporter: (Tune) shows progress.
        log_to_file: (Tune) write trials' output to files.
        local_dir: old name of `storage_path`.
    """

    name: str | None = None
    storage_path: str | None = None
    storage_filesystem: Any = None
    failure_config: FailureConfig | None = None
    checkpoint_config: CheckpointConfig | None = None
    sync_config: SyncConfig | None = None
    verbose: Any = None
    stop: dict | Callable[[str, dict], bool] | Any | None = None
    callbacks: list | None = None
    progress_reporter: Any = None
    log_to_file: bool | str | tuple[str, str] = False
    local_dir: str | None = None

    def __post_init__(self) -> None:
        from narke.train._config import SyncConfig

        if self.storage_path is None:
            upload = getattr(self.sync_config, "storage_folder", None)
            self.storage_path = upload or self.local_dir or default_storage_path()
        if isinstance(self.storage_path, os.PathLike):
            self.storage_path = os.fspath(self.storage_path)
        self.failure_config = self.failure_config or FailureConfig()
        self.sync_config = self.sync_config or SyncConfig()
        self.checkpoint_config = self.checkpoint_config or CheckpointConfig()
        if self.verbose is None:
            self.verbose = 1

    __repr__ = brief


@dataclass
class DatasetConfig:
    """How a dataset reaches the workers, in programs of the AIR time.

    Args:
        fit: fit the preprocessor on it.
        split: split it over the workers; else each gets all of it.
        required: its absence is an error.
        transform: apply the preprocessor.
        global_shuffle, randomize_block_order: the order of what each epoch gives.
        max_object_store_memory_fraction, per_epoch_preprocessor, use_stream_api, stream_window_size: of the ingest.
    """

    fit: bool | None = None
    split: bool | None = None
    required: bool | None = None
    transform: bool | None = None
    max_object_store_memory_fraction: float | None = None
    global_shuffle: bool | None = None
    randomize_block_order: bool | None = None
    per_epoch_preprocessor: Any = None
    use_stream_api: bool | None = None
    stream_window_size: float | None = None

    __repr__ = brief

    def fill_defaults(self) -> DatasetConfig:
        """This configuration with values for what is None."""
        return DatasetConfig(
            fit=bool(self.fit),
            split=bool(self.split),
            required=bool(self.required),
            transform=True if self.transform is None else self.transform,
            max_object_store_memory_fraction=self.max_object_store_memory_fraction,
            global_shuffle=bool(self.global_shuffle),
            randomize_block_order=True if self.randomize_block_order is None else self.randomize_block_order,
            per_epoch_preprocessor=self.per_epoch_preprocessor,
            use_stream_api=self.use_stream_api,
            stream_window_size=self.stream_window_size,
        )

    @staticmethod
    def merge(a: dict[str, DatasetConfig], b: dict[str, DatasetConfig] | None) -> dict[str, DatasetConfig]:
        """Two sets of configurations by dataset name; `b` wins, its "*" goes for all names.

        Args:
            a: defaults.
            b: what a user asked for.
        """
        merged = dict(a)
        for name, config in (b or {}).items():
            old = merged.get(name, merged.get(WILDCARD, DatasetConfig()))
            values = {f.name: getattr(config, f.name) for f in fields(config)}
            merged[name] = DatasetConfig(
                **{key: getattr(old, key) if value is None else value for key, value in values.items()}
            )
        return merged

    @staticmethod
    def validated(config: dict[str, DatasetConfig], datasets: dict[str, Any]) -> dict[str, DatasetConfig]:
        """The configuration of each given dataset.

        Args:
            config: by dataset name or "*".
            datasets: by name.

        Raises:
            ValueError: a required dataset is missing, or several are to be fitted on.
        """
        for name, each in config.items():
            if each.required and name != WILDCARD and name not in datasets:
                raise ValueError(f"dataset {name!r} is required; datasets= has {sorted(datasets)}")
        found = {
            name: (config.get(name) or config.get(WILDCARD) or DatasetConfig()).fill_defaults()
            for name in datasets
        }
        fitted = [name for name, each in found.items() if each.fit]
        if len(fitted) > 1:
            raise ValueError(f"a preprocessor is fitted on one dataset, not on {fitted}")
        return found


WILDCARD = "*"
