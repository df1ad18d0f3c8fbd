"""What users may have called while a run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from narke.train._checkpoint import Checkpoint

__all__ = ["RayTrainCallback", "UserCallback"]


class RayTrainCallback:
    """The base of callbacks."""


class UserCallback(RayTrainCallback):
    """Called by the run's controller; override what is needed."""

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None
    ) -> None:
        """All workers have reported.

        Args:
            run_context: the run's name, configurations and datasets.
            metrics: of each rank.
            checkpoint: in the storage, if one was reported.
        """

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Workers have failed.

        Args:
            run_context: the run's name, configurations and datasets.
            worker_exceptions: by rank.
        """
