"""Checkpoints that know how a framework stores its models."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from narke.train._checkpoint import Checkpoint

__all__ = ["FrameworkCheckpoint", "new_folder"]


class FrameworkCheckpoint(Checkpoint):
    """A checkpoint with one model of a framework, and possibly a preprocessor."""

    MODEL_FILENAME = ""

    def _model_file(self, folder: str) -> str:
        """The model's file in a local folder of this checkpoint.

        Raises:
            RuntimeError: there is none; the text names what is there.
        """
        path = os.path.join(folder, self.MODEL_FILENAME)
        if not os.path.exists(path):
            raise RuntimeError(
                f"{self!r} holds no {self.MODEL_FILENAME}, which {type(self).__name__} reads; it has "
                f"{sorted(os.listdir(folder))}"
            )
        return path


def new_folder(path: str | os.PathLike | None = None) -> str:
    """A local folder for a new checkpoint.

    Args:
        path: the folder to use; a temporary one if None.
    """
    if path is None:
        return tempfile.mkdtemp(prefix="checkpoint_")
    os.makedirs(path, exist_ok=True)
    return os.fspath(path)


def finished(checkpoint: Any, preprocessor: Any) -> Any:
    """The checkpoint, with its preprocessor if there is one."""
    if preprocessor is not None:
        checkpoint.set_preprocessor(preprocessor)
    return checkpoint
