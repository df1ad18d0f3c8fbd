"""The trainer for Horovod."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.train.data_parallel_trainer import DataParallelTrainer, framework_arguments
from narke.train.horovod.config import HorovodConfig

__all__ = ["HorovodTrainer"]


class HorovodTrainer(DataParallelTrainer):
    """Runs a training function on each of several workers, which Horovod joins.

    Args:
        horovod_config: of the rendezvous.
        train_loop_per_worker, train_loop_config, scaling_config, dataset_config, run_config, datasets, metadata,
            resume_from_checkpoint, preprocessor: see `DataParallelTrainer`.
    """

    _backend = HorovodConfig

    def __init__(
        self,
        train_loop_per_worker: Callable[[], Any] | Callable[[dict], Any],
        *,
        train_loop_config: dict[str, Any] | None = None,
        horovod_config: HorovodConfig | None = None,
        scaling_config: Any = None,
        dataset_config: Any = None,
        run_config: Any = None,
        datasets: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        resume_from_checkpoint: Any = None,
        preprocessor: Any = None,
    ) -> None:
        super().__init__(**framework_arguments(locals(), "horovod_config"))
