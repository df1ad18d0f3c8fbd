"""What checkpoints of boosted trees share."""

from __future__ import annotations

import os
from typing import Any, TypeVar

from narke.train._framework_checkpoint import FrameworkCheckpoint, finished, new_folder

__all__ = ["BoosterCheckpoint"]

_Own = TypeVar("_Own", bound="BoosterCheckpoint")


class BoosterCheckpoint(FrameworkCheckpoint):
    """A checkpoint with a booster in a file.

    Subclasses name the file, read it (`_read`), and say how many rounds a booster has had (`rounds_of`).
    """

    @classmethod
    def from_model(
        cls: type[_Own], booster: Any, *, preprocessor: Any = None, path: str | None = None
    ) -> _Own:
        """A new checkpoint of a booster.

        Args:
            booster: trained.
            preprocessor: stored with it.
            path: folder; a temporary one if None.
        """
        folder = new_folder(path)
        booster.save_model(os.path.join(folder, cls.MODEL_FILENAME))
        return finished(cls.from_directory(folder), preprocessor)

    def get_model(self) -> Any:
        """The booster.

        Raises:
            RuntimeError: the checkpoint has no model file.
        """
        with self.as_directory() as folder:
            return self._read(self._model_file(folder))

    @staticmethod
    def _read(path: str) -> Any:
        """The booster in a file."""
        raise NotImplementedError

    @staticmethod
    def rounds_of(booster: Any) -> int:
        """How many rounds a booster was trained."""
        raise NotImplementedError
