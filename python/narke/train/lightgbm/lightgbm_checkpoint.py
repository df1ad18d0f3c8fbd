"""Checkpoints of LightGBM models."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from narke.train._framework_checkpoint import FrameworkCheckpoint, finished, new_folder

if TYPE_CHECKING:
    import lightgbm

__all__ = ["LightGBMCheckpoint"]


class LightGBMCheckpoint(FrameworkCheckpoint):
    """A checkpoint with a booster in ``model.txt``."""

    MODEL_FILENAME = "model.txt"

    @classmethod
    def from_model(
        cls, booster: lightgbm.Booster, *, preprocessor: Any = None, path: str | None = None
    ) -> LightGBMCheckpoint:
        """A new checkpoint of a booster.

        Args:
            booster: trained.
            preprocessor: stored with it.
            path: folder; a temporary one if None.
        """
        folder = new_folder(path)
        booster.save_model(os.path.join(folder, cls.MODEL_FILENAME))
        return finished(cls.from_directory(folder), preprocessor)

    def get_model(self) -> lightgbm.Booster:
        """The booster.

        Raises:
            RuntimeError: the checkpoint has no model file.
        """
        from lightgbm import Booster

        with self.as_directory() as folder:
            return Booster(model_file=self._model_file(folder))
