"""The trainer for TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.train.data_parallel_trainer import DataParallelTrainer, framework_arguments
from narke.train.tensorflow.config import TensorflowConfig

__all__ = ["TensorflowTrainer"]


class TensorflowTrainer(DataParallelTrainer):
    """Runs a training function on each of several workers, which TF_CONFIG makes a cluster of TensorFlow.

    Args:
        tensorflow_config: of the cluster.
        train_loop_per_worker, train_loop_config, scaling_config, dataset_config, run_config, datasets,
            validation_config, metadata, resume_from_checkpoint, preprocessor: see `DataParallelTrainer`.
    """

    _backend = TensorflowConfig

    def __init__(
        self,
        train_loop_per_worker: Callable[[], Any] | Callable[[dict], Any],
        *,
        train_loop_config: dict[str, Any] | None = None,
        tensorflow_config: TensorflowConfig | None = None,
        scaling_config: Any = None,
        dataset_config: Any = None,
        run_config: Any = None,
        datasets: dict[str, Any] | None = None,
        validation_config: Any = None,
        metadata: dict[str, Any] | None = None,
        resume_from_checkpoint: Any = None,
        preprocessor: Any = None,
    ) -> None:
        super().__init__(**framework_arguments(locals(), "tensorflow_config"))
