"""Validation of checkpoints beside the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from narke.train._checkpoint import Checkpoint

__all__ = ["ValidationConfig", "ValidationFn", "ValidationTaskConfig"]


class ValidationFn(Protocol):
    """A function that validates a checkpoint."""

    def __call__(self, checkpoint: Checkpoint, **kwargs: Any) -> dict[str, Any]:
        """Metrics of the checkpoint, which are added to those reported with it."""
        ...


@dataclass
class ValidationTaskConfig:
    """How one validation runs.

    Args:
        fn_kwargs: further arguments of the function.
        timeout_s: seconds it may take; None for as long as it takes.
    """

    fn_kwargs: dict[str, Any] | None = None
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        self.fn_kwargs = self.fn_kwargs or {}


class ValidationConfig:
    """What validates the checkpoints of a run.

    Args:
        fn: runs as a task for each checkpoint that is reported with ``validation``.
        task_config: of validations that bring none of their own.
        ray_remote_kwargs: options of the task.
    """

    def __init__(
        self,
        fn: ValidationFn,
        task_config: ValidationTaskConfig | None = None,
        ray_remote_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.fn = fn
        self.task_config = task_config or ValidationTaskConfig()
        self.ray_remote_kwargs = ray_remote_kwargs or {}
