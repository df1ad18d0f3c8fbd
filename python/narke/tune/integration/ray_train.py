"""Reporting of a training run that a trial's function conducts itself."""

from __future__ import annotations

from typing import Any

from narke.train import UserCallback
from narke.tune.trainable._session import get_session

__all__ = ["CHECKPOINT_PATH_KEY", "TuneReportCallback"]

CHECKPOINT_PATH_KEY = "checkpoint_path"


class TuneReportCallback(UserCallback):
    """Give this to a trainer's ``RunConfig(callbacks=[...])`` in a trial: each of its reports becomes one of the trial.

    The path of a checkpoint goes with the metrics, under ``checkpoint_path``; its files stay with the training run.

    Raises:
        RuntimeError: it is made outside of a trial.
    """

    def __init__(self) -> None:
        if get_session() is None:
            raise RuntimeError("TuneReportCallback reports to the trial it is made in; no trial runs here")

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Report what the worker of rank 0 reported."""
        from narke.tune.trainable.trainable_fn_utils import report

        shown = dict(metrics[0])
        if checkpoint is not None:
            shown[CHECKPOINT_PATH_KEY] = checkpoint.path
        report(shown)
