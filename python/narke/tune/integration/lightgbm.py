"""Callbacks for ``lightgbm.train`` in a trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.train.lightgbm import RayTrainReportCallback
from narke.tune.trainable.trainable_fn_utils import Checkpoint

__all__ = ["TuneCallback", "TuneReportCallback", "TuneReportCheckpointCallback"]


class TuneCallback:
    """The base of callbacks for LightGBM in older programs."""

    def __call__(self, env: Any) -> None:
        """A round is done.

        Args:
            env: lightgbm's CallbackEnv.
        """
        raise NotImplementedError


class TuneReportCheckpointCallback(RayTrainReportCallback, TuneCallback):
    """Reports each round's evaluation, and checkpoints.

    Args:
        metrics: which: a name, names, or {reported name: name}; all if None.
        filename: of the model in the checkpoint.
        frequency: every how many rounds a checkpoint is reported; 0 never.
        checkpoint_at_end: report one with the last round.
        results_postprocessing_fn: changes the metrics before they are reported.
    """

    def __init__(
        self,
        metrics: str | list[str] | dict[str, str] | None = None,
        filename: str = RayTrainReportCallback.CHECKPOINT_NAME,
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        results_postprocessing_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            metrics=metrics,
            filename=filename,
            frequency=frequency,
            checkpoint_at_end=checkpoint_at_end,
            results_postprocessing_fn=results_postprocessing_fn,
        )

    @classmethod
    def get_model(cls, checkpoint: Checkpoint, filename: str = RayTrainReportCallback.CHECKPOINT_NAME) -> Any:
        """The model of a checkpoint that this callback reported."""
        return super().get_model(checkpoint, filename)

    def __call__(self, env: Any) -> None:
        """A round is done."""
        RayTrainReportCallback.__call__(self, env)


class TuneReportCallback(TuneReportCheckpointCallback):
    """Reports each round's evaluation; the older name of `TuneReportCheckpointCallback` without checkpoints.

    Args:
        args, kwargs: metrics, results_postprocessing_fn.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names = ("metrics", "results_postprocessing_fn")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        super().__init__(**{**given, "frequency": 0, "checkpoint_at_end": False})
