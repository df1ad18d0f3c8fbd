"""The trainer for PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.train.data_parallel_trainer import DataParallelTrainer, framework_arguments
from narke.train.torch.config import TorchConfig

__all__ = ["TorchTrainer"]


class TorchTrainer(DataParallelTrainer):
    """Runs a training function on each of several workers, which form a process group of PyTorch.

    Args:
        torch_config: of the process group.
        train_loop_per_worker, train_loop_config, scaling_config, run_config, datasets, dataset_config, metadata,
            resume_from_checkpoint, validation_config, preprocessor: see `DataParallelTrainer`.
    """

    _backend = TorchConfig

    def __init__(
        self,
        train_loop_per_worker: Callable[[], Any] | Callable[[dict], Any],
        *,
        train_loop_config: dict[str, Any] | None = None,
        torch_config: TorchConfig | None = None,
        scaling_config: Any = None,
        run_config: Any = None,
        datasets: dict[str, Any] | None = None,
        dataset_config: Any = None,
        validation_config: Any = None,
        metadata: dict[str, Any] | None = None,
        resume_from_checkpoint: Any = None,
        preprocessor: Any = None,
    ) -> None:
        super().__init__(**framework_arguments(locals(), "torch_config"))
