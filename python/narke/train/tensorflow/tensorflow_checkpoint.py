"""Checkpoints of Keras models."""

from __future__ import annotations

import os
import shutil
from typing import Any

from narke.train._framework_checkpoint import FrameworkCheckpoint, finished, new_folder

__all__ = ["TensorflowCheckpoint"]


class TensorflowCheckpoint(FrameworkCheckpoint):
    """A checkpoint with a Keras model: ``model.keras``, an .h5 file, or a SavedModel's folder."""

    MODEL_FILENAME = "model.keras"
    MODEL_FILENAME_KEY = "_model_filename"

    @classmethod
    def from_model(cls, model: Any, *, preprocessor: Any = None) -> TensorflowCheckpoint:
        """A new checkpoint of a model.

        Args:
            model: of Keras.
            preprocessor: stored with it.
        """
        folder = new_folder()
        model.save(os.path.join(folder, cls.MODEL_FILENAME))
        return cls._named(folder, cls.MODEL_FILENAME, preprocessor)

    @classmethod
    def from_h5(cls, file_path: str, *, preprocessor: Any = None) -> TensorflowCheckpoint:
        """A new checkpoint of an .h5 file.

        Args:
            file_path: of the file.
            preprocessor: stored with it.

        Raises:
            ValueError: it is no such file.
        """
        if not (os.path.isfile(file_path) and file_path.endswith(".h5")):
            raise ValueError(f"{file_path!r} is no .h5 file")
        folder = new_folder()
        shutil.copy(file_path, folder)
        return cls._named(folder, os.path.basename(file_path), preprocessor)

    @classmethod
    def from_saved_model(cls, dir_path: str, *, preprocessor: Any = None) -> TensorflowCheckpoint:
        """A new checkpoint of a SavedModel.

        Args:
            dir_path: its folder.
            preprocessor: stored with it.
        """
        folder = new_folder()
        shutil.copytree(dir_path, folder, dirs_exist_ok=True)
        return cls._named(folder, ".", preprocessor)

    @classmethod
    def _named(cls, folder: str, name: str, preprocessor: Any) -> TensorflowCheckpoint:
        made = cls.from_directory(folder)
        made.update_metadata({cls.MODEL_FILENAME_KEY: name})
        return finished(made, preprocessor)

    def get_model(self) -> Any:
        """The model.

        Raises:
            RuntimeError: the checkpoint has none.
        """
        import keras

        with self.as_directory() as folder:
            name = self.get_metadata().get(self.MODEL_FILENAME_KEY)
            path = self._model_file(folder) if name is None else os.path.join(folder, name)
            return keras.models.load_model(os.path.normpath(path))
