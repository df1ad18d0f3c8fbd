"""Checkpoints of XGBoost models."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from narke.train._framework_checkpoint import FrameworkCheckpoint, finished, new_folder

if TYPE_CHECKING:
    import xgboost

__all__ = ["XGBoostCheckpoint"]


class XGBoostCheckpoint(FrameworkCheckpoint):
    """A checkpoint with a booster in ``model.json``, or ``model.ubj`` as trainings report it."""

    MODEL_FILENAME = "model.json"

    @classmethod
    def from_model(
        cls, booster: xgboost.Booster, *, preprocessor: Any = None, path: str | None = None
    ) -> XGBoostCheckpoint:
        """A new checkpoint of a booster.

        Args:
            booster: trained.
            preprocessor: stored with it.
            path: folder; a temporary one if None.
        """
        folder = new_folder(path)
        booster.save_model(os.path.join(folder, cls.MODEL_FILENAME))
        return finished(cls.from_directory(folder), preprocessor)

    def get_model(self) -> xgboost.Booster:
        """The booster.

        Raises:
            RuntimeError: the checkpoint has no model file.
        """
        from xgboost import Booster

        with self.as_directory() as folder:
            reported = os.path.join(folder, "model.ubj")
            booster = Booster()
            booster.load_model(reported if os.path.exists(reported) else self._model_file(folder))
            return booster
