"""Checkpoints of scikit-learn estimators."""

from __future__ import annotations

import os
from typing import Any

from narke import cloudpickle
from narke.train._framework_checkpoint import FrameworkCheckpoint, finished, new_folder

__all__ = ["SklearnCheckpoint"]


class SklearnCheckpoint(FrameworkCheckpoint):
    """A checkpoint with a pickled estimator in ``model.pkl``."""

    MODEL_FILENAME = "model.pkl"

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, path: str | os.PathLike | None = None, preprocessor: Any = None
    ) -> SklearnCheckpoint:
        """A new checkpoint of an estimator.

        Args:
            estimator: fitted.
            path: folder; a temporary one if None.
            preprocessor: stored with it.
        """
        folder = new_folder(path)
        with open(os.path.join(folder, cls.MODEL_FILENAME), "wb") as file:
            cloudpickle.dump(estimator, file)
        return finished(cls.from_directory(folder), preprocessor)

    def get_estimator(self) -> Any:
        """The estimator.

        Raises:
            RuntimeError: the checkpoint has none.
        """
        with self.as_directory() as folder, open(self._model_file(folder), "rb") as file:
            return cloudpickle.load(file)
