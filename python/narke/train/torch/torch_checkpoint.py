"""Checkpoints of PyTorch models."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from narke.train._framework_checkpoint import FrameworkCheckpoint, finished, new_folder

if TYPE_CHECKING:
    import torch

__all__ = ["ENCODED_DATA_KEY", "TorchCheckpoint"]

ENCODED_DATA_KEY = "torch_encoded_data"


class TorchCheckpoint(FrameworkCheckpoint):
    """A checkpoint with a model, or its state, in ``model.pt``."""

    MODEL_FILENAME = "model.pt"

    @classmethod
    def from_state_dict(cls, state_dict: dict[str, Any], *, preprocessor: Any = None) -> TorchCheckpoint:
        """A new checkpoint of a model's state.

        Args:
            state_dict: of the model.
            preprocessor: stored with it.
        """
        import torch

        folder = new_folder()
        torch.save(state_dict, os.path.join(folder, cls.MODEL_FILENAME))
        return finished(cls.from_directory(folder), preprocessor)

    @classmethod
    def from_model(cls, model: torch.nn.Module, *, preprocessor: Any = None) -> TorchCheckpoint:
        """A new checkpoint of a whole model, pickled.

        Args:
            model: a module.
            preprocessor: stored with it.
        """
        import torch

        folder = new_folder()
        torch.save(model, os.path.join(folder, cls.MODEL_FILENAME))
        return finished(cls.from_directory(folder), preprocessor)

    def get_model(self, model: torch.nn.Module | None = None) -> torch.nn.Module:
        """The model.

        Args:
            model: what a stored state is loaded into.

        Raises:
            ValueError: a state is stored and no model is given.
            RuntimeError: the checkpoint has no model file.
        """
        import torch

        with self.as_directory() as folder:
            stored = torch.load(self._model_file(folder), map_location="cpu", weights_only=False)
        if isinstance(stored, torch.nn.Module):
            return stored
        if model is None:
            raise ValueError("the checkpoint holds a state_dict: pass the model that it belongs to")
        prefix = "module."
        state = {
            name.removeprefix(prefix) if name.startswith(prefix) else name: each
            for name, each in stored.items()
        }
        model.load_state_dict(state)
        return model
