"""Checkpoints of XGBoost models."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from narke.train._booster_checkpoint import BoosterCheckpoint

if TYPE_CHECKING:
    import xgboost

__all__ = ["XGBoostCheckpoint"]


class XGBoostCheckpoint(BoosterCheckpoint):
    """A checkpoint with a booster in ``model.json``, or ``model.ubj`` as trainings report it."""

    MODEL_FILENAME = "model.json"

    def _model_file(self, folder: str) -> str:
        reported = os.path.join(folder, "model.ubj")
        return reported if os.path.exists(reported) else super()._model_file(folder)

    @staticmethod
    def _read(path: str) -> xgboost.Booster:
        from xgboost import Booster

        booster = Booster()
        booster.load_model(path)
        return booster

    @staticmethod
    def rounds_of(booster: xgboost.Booster) -> int:
        """How many rounds a booster was trained."""
        return booster.num_boosted_rounds()
