"""Callbacks for ``lightgbm.train`` in a trial."""

from __future__ import annotations

from typing import Any

from narke.train.lightgbm import RayTrainReportCallback
from narke.tune.integration._boosted import WithoutCheckpoints

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
    """Reports each round's evaluation, and checkpoints; arguments as of `RayTrainReportCallback`."""


class TuneReportCallback(WithoutCheckpoints, TuneReportCheckpointCallback):
    """Reports each round's evaluation; the older name of `TuneReportCheckpointCallback` without checkpoints."""
