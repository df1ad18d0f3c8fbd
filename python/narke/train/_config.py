"""Configurations of the present generation of Train."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from narke.air.config import DEPRECATED, check_retention, default_storage_path
from narke.air.config import FailureConfig as _FailureConfig
from narke.air.config import ScalingConfig as _ScalingConfig
from narke.train._naming import run_name

if TYPE_CHECKING:
    from narke.train._storage import StorageContext
    from narke.train.v2.api.callback import UserCallback

__all__ = ["CheckpointConfig", "FailureConfig", "LoggingConfig", "RunConfig", "ScalingConfig", "SyncConfig"]


@dataclass
class SyncConfig:
    """Uploading of what trials write besides checkpoints.

    Args:
        sync_period: seconds between uploads.
        sync_timeout: seconds an upload may take.
        sync_artifacts: whether files in a trial's working folder are uploaded.
        sync_artifacts_on_checkpoint: upload them with each checkpoint.
        upload_dir: old name of ``RunConfig(storage_path=)``.
        syncer: "auto" writes to the storage straight; a `narke.tune.syncer.Syncer` copies a local experiment's folder
            to `upload_dir`.
        sync_on_checkpoint: of the time when checkpoints could stay on their nodes.
    """

    sync_period: int = 300
    sync_timeout: int = 1800
    sync_artifacts: bool = False
    sync_artifacts_on_checkpoint: bool = True
    upload_dir: str | None = None
    syncer: Any = "auto"
    sync_on_checkpoint: bool = True

    @property
    def storage_folder(self) -> str | None:
        """Where files are written: `upload_dir`, unless a syncer copies them there."""
        return self.upload_dir if self.syncer in (None, "auto") else None

    def validate_upload_dir(self) -> bool:
        """Whether the syncer knows `upload_dir`; raises ValueError if it does not."""
        from narke.tune.syncer import get_node_to_storage_syncer

        syncer = get_node_to_storage_syncer(self)
        return self.upload_dir is None or syncer is None or type(syncer).validate_upload_dir(self.upload_dir)


@dataclass
class ScalingConfig(_ScalingConfig):
    """How many workers train, and with what.

    Args:
        num_workers: workers; (least, most) trains with as many of them as the cluster has room for, and changes their
            number as it grows and shrinks; 0 runs the loop in this process.
        trainer_resources: what the trainer itself holds, in runs of the first generation.
        use_gpu, resources_per_worker, placement_strategy, accelerator_type: see `narke.air.ScalingConfig`.
        label_selector: labels that workers' nodes must have; one for all, or a list with one for each worker.
        use_tpu, topology: give workers the chips of a TPU slice of this shape.
        elastic_resize_monitor_interval_s: seconds between looks for room for more workers.

    Raises:
        ValueError: a range is empty, resources contradict each other.
    """

    trainer_resources: dict | None = None
    num_workers: int | tuple[int, int] = 1
    label_selector: dict[str, str] | list[dict[str, str]] | None = None
    use_tpu: bool = False
    topology: str | None = None
    elastic_resize_monitor_interval_s: float = 60.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_workers()
        if self.use_gpu and self.use_tpu:
            raise ValueError("ScalingConfig has use_gpu and use_tpu: a worker uses one kind of accelerator")
        if self.use_tpu and not (self.topology and self.accelerator_type) and self.max_workers > 1:
            raise ValueError(
                "ScalingConfig(use_tpu=True) with several workers needs topology and accelerator_type"
            )
        if self.elastic_resize_monitor_interval_s < 0:
            raise ValueError("ScalingConfig.elastic_resize_monitor_interval_s must be at least 0 seconds")
        if isinstance(self.label_selector, list) and len(self.label_selector) != self.max_workers:
            raise ValueError(
                f"ScalingConfig.label_selector has {len(self.label_selector)} entries for {self.max_workers} workers: "
                "give one for each, or one dict for all"
            )

    def _check_workers(self) -> None:
        if isinstance(self.num_workers, list):
            self.num_workers = tuple(self.num_workers)
        if isinstance(self.num_workers, tuple):
            if len(self.num_workers) != 2 or not all(isinstance(n, int) for n in self.num_workers):
                raise ValueError(
                    f"ScalingConfig.num_workers is {self.num_workers!r}; a range is (least, most)"
                )
            if not 1 <= self.num_workers[0] <= self.num_workers[1]:
                raise ValueError(
                    f"ScalingConfig.num_workers is {self.num_workers!r}; it must hold that 1 <= least <= most"
                )
        elif isinstance(self.num_workers, int) and self.num_workers < 0:
            raise ValueError(f"ScalingConfig.num_workers is {self.num_workers}; it must be at least 0")

    @property
    def elasticity_enabled(self) -> bool:
        """Whether the number of workers may change."""
        return isinstance(self.num_workers, tuple)

    @property
    def min_workers(self) -> int:
        """The least number of workers."""
        return self.num_workers[0] if isinstance(self.num_workers, tuple) else self.num_workers

    @property
    def max_workers(self) -> int:
        """The greatest number of workers."""
        return self.num_workers[1] if isinstance(self.num_workers, tuple) else self.num_workers

    @property
    def _resources_per_worker_not_none(self) -> dict[str, float]:
        if self.use_tpu:
            return {"TPU": 1, **(self.resources_per_worker or {})}  # type: ignore[dict-item]
        return super()._resources_per_worker_not_none

    @property
    def _trainer_resources_not_none(self) -> dict[str, float]:
        return dict(self.trainer_resources or {})

    @property
    def num_tpus_per_worker(self) -> float:
        """TPU chips of a worker."""
        return self._resources_per_worker_not_none.get("TPU", 0)

    @property
    def total_resources(self) -> dict[str, float]:
        """What the greatest number of workers hold together."""
        each = self._resources_per_worker_not_none
        return {name: float(amount * self.max_workers) for name, amount in each.items()}

    def _label_selector_per_worker(self, num_workers: int) -> list[dict[str, str]] | None:
        if isinstance(self.label_selector, list):
            return [dict(each) for each in self.label_selector[:num_workers]]
        return [dict(self.label_selector) for _ in range(num_workers)] if self.label_selector else None


@dataclass
class CheckpointConfig:
    """Which checkpoints are kept.

    Args:
        num_to_keep: how many to keep, besides the latest; None keeps all.
        checkpoint_score_attribute: metric that tells which are best; by default the latest are.
        checkpoint_score_order: "max" or "min".
        checkpoint_frequency, checkpoint_at_end: for trainers that make checkpoints themselves.

    Raises:
        ValueError: a value is out of its range.
    """

    num_to_keep: int | None = None
    checkpoint_score_attribute: str | None = None
    checkpoint_score_order: Literal["max", "min"] = "max"
    checkpoint_frequency: int | None | Literal["DEPRECATED"] = DEPRECATED  # type: ignore[assignment]
    checkpoint_at_end: bool | None | Literal["DEPRECATED"] = DEPRECATED  # type: ignore[assignment]

    def __post_init__(self) -> None:
        check_retention(self.num_to_keep, self.checkpoint_score_order)


@dataclass
class FailureConfig(_FailureConfig):
    """What happens when workers, their nodes or the start of a group fail.

    Args:
        max_failures: how often to begin again from the last checkpoint after a worker failed; -1 for ever.
        controller_failure_limit: how often to try again when workers cannot be started; -1 for ever.
        max_preemption_failures: how often to begin again after a node was taken away on notice; -1 for ever.
        relax_collectives_on_preemption: after a notice of preemption, reports do not wait for lost ranks.
        preemption_grace_s: seconds that workers have for a last checkpoint after such a notice.
        fail_fast: of Tune's trials.
    """

    fail_fast: bool | str = DEPRECATED
    controller_failure_limit: int = -1
    max_preemption_failures: int = -1
    relax_collectives_on_preemption: bool = False
    preemption_grace_s: float = 0.0

    def __post_init__(self) -> None:
        if self.fail_fast != DEPRECATED:
            super().__post_init__()


@dataclass
class LoggingConfig:
    """Logging of the run's controller and workers.

    Args:
        log_level: DEBUG, INFO, WARNING, ERROR or CRITICAL.

    Raises:
        ValueError: another level.
    """

    log_level: str = "INFO"

    def __post_init__(self) -> None:
        if self.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
            raise ValueError(f"LoggingConfig.log_level is {self.log_level!r}; it must be a level of logging")

    @property
    def level(self) -> int:
        """The level as `logging` numbers it."""
        return getattr(logging, self.log_level)


@dataclass
class RunConfig:
    """Name, storage and conduct of a training run.

    Args:
        name: of the run, the folder below `storage_path`. A run whose folder holds checkpoints goes on from them.
        storage_path: folder or URI; `narke.air.config.default_storage_path` if None.
        storage_filesystem: pyarrow or fsspec filesystem on which `storage_path` lies.
        failure_config, checkpoint_config, logging_config: see there.
        callbacks: `UserCallback`s.
        worker_runtime_env: runtime environment of the workers.
        stop: end the run when a metric reaches a value: {metric: value}, or a function of (name, metrics).
        sync_config, verbose, progress_reporter, log_to_file: of the first generation.
    """

    name: str | None = None
    storage_path: str | None = None
    storage_filesystem: Any = None
    failure_config: FailureConfig | None = None
    checkpoint_config: CheckpointConfig | None = None
    callbacks: list[UserCallback] | None = None
    worker_runtime_env: Any = None
    logging_config: LoggingConfig | None = None
    sync_config: Any = DEPRECATED
    verbose: Any = DEPRECATED
    stop: Any = DEPRECATED
    progress_reporter: Any = DEPRECATED
    log_to_file: Any = DEPRECATED

    def __post_init__(self) -> None:
        if self.storage_path is None:
            self.storage_path = default_storage_path()
        if isinstance(self.storage_path, os.PathLike):
            self.storage_path = os.fspath(self.storage_path)
        self.name = self.name or run_name()
        self.failure_config = self.failure_config or FailureConfig()
        self.checkpoint_config = self.checkpoint_config or CheckpointConfig()
        self.logging_config = self.logging_config or LoggingConfig()
        self.callbacks = self.callbacks or []
        self.worker_runtime_env = self.worker_runtime_env or {}

    @property
    def storage_context(self) -> StorageContext:
        """Where the run's files are."""
        from narke.train._storage import StorageContext

        return StorageContext(
            self.storage_path or "", self.name or "", storage_filesystem=self.storage_filesystem
        )
