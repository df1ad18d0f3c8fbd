"""Checkpoints of Lightning modules."""

from __future__ import annotations

import os
import shutil
from typing import Any

from narke.train._framework_checkpoint import finished, new_folder
from narke.train.torch.torch_checkpoint import TorchCheckpoint

__all__ = ["LightningCheckpoint"]


class LightningCheckpoint(TorchCheckpoint):
    """A checkpoint that a Lightning Trainer wrote, in ``checkpoint.ckpt`` or ``model``."""

    MODEL_FILENAME = "checkpoint.ckpt"

    @classmethod
    def from_path(cls, path: str, *, preprocessor: Any = None) -> LightningCheckpoint:
        """A new checkpoint of a file that a Trainer wrote.

        Args:
            path: of the file.
            preprocessor: stored with it.
        """
        folder = new_folder()
        shutil.copy(path, os.path.join(folder, cls.MODEL_FILENAME))
        return finished(cls.from_directory(folder), preprocessor)

    def get_model(self, model_class: Any, **load_from_checkpoint_kwargs: Any) -> Any:  # type: ignore[override]
        """The module.

        Args:
            model_class: its class.
            load_from_checkpoint_kwargs: of its `load_from_checkpoint`.
        """
        with self.as_directory() as folder:
            return model_class.load_from_checkpoint(self._model_file(folder), **load_from_checkpoint_kwargs)
