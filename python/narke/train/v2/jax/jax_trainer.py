"""The trainer for JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.train.data_parallel_trainer import DataParallelTrainer, framework_arguments
from narke.train.v2.jax.config import JaxConfig

__all__ = ["JaxTrainer"]


class JaxTrainer(DataParallelTrainer):
    """Runs a training function on each of several workers, which form JAX's distributed runtime.

    Args:
        jax_config: of the runtime; by default as `scaling_config` says.
        train_loop_per_worker, train_loop_config, scaling_config, dataset_config, run_config, datasets,
            validation_config: see `DataParallelTrainer`.
    """

    _backend = JaxConfig

    def __init__(
        self,
        train_loop_per_worker: Callable[[], Any] | Callable[[dict], Any],
        *,
        train_loop_config: dict[str, Any] | None = None,
        jax_config: JaxConfig | None = None,
        scaling_config: Any = None,
        dataset_config: Any = None,
        run_config: Any = None,
        datasets: dict[str, Any] | None = None,
        validation_config: Any = None,
    ) -> None:
        super().__init__(**framework_arguments(locals(), "jax_config"))
        if jax_config is None:
            scaling = self.scaling_config
            self.backend_config = JaxConfig(
                use_tpu=bool(getattr(scaling, "use_tpu", False)), use_gpu=bool(scaling.use_gpu)
            )
