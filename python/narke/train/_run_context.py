"""What a run is, as callbacks see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["TrainRunContext"]


@dataclass(frozen=True)
class TrainRunContext:
    """What a run is made of.

    Args:
        run_id: unique in the cluster.
        run_config, scaling_config, backend_config, dataset_config: of the trainer.
        train_loop_config: what the training function is called with.
        datasets: by name.
    """

    run_id: str
    run_config: Any
    train_loop_config: dict[str, Any] | None = None
    scaling_config: Any = None
    backend_config: Any = None
    dataset_config: Any = None
    datasets: dict[str, Any] = field(default_factory=dict)

    def get_run_config(self) -> Any:
        """The trainer's RunConfig."""
        return self.run_config
