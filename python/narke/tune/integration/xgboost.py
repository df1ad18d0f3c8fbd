"""Callbacks for ``xgboost.train`` in a trial."""

from __future__ import annotations

from xgboost.callback import TrainingCallback

from narke.train.xgboost import RayTrainReportCallback
from narke.tune.integration._boosted import WithoutCheckpoints

__all__ = ["TuneReportCallback", "TuneReportCheckpointCallback"]

TuneCallback = TrainingCallback


class TuneReportCheckpointCallback(RayTrainReportCallback):
    """Reports each round's evaluation, and checkpoints; arguments as of `RayTrainReportCallback`."""


class TuneReportCallback(WithoutCheckpoints, TuneReportCheckpointCallback):
    """Reports each round's evaluation; the older name of `TuneReportCheckpointCallback` without checkpoints."""
