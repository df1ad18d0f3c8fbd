"""Checkpoints of Transformers models."""

from __future__ import annotations

import os
from typing import Any

from narke.train._framework_checkpoint import FrameworkCheckpoint, finished, new_folder

__all__ = ["TransformersCheckpoint"]


class TransformersCheckpoint(FrameworkCheckpoint):
    """A checkpoint with a pretrained model's files, at its top or in its folder ``checkpoint``."""

    MODEL_FILENAME = "config.json"

    @classmethod
    def from_model(
        cls,
        model: Any,
        tokenizer: Any = None,
        *,
        path: str | os.PathLike | None = None,
        preprocessor: Any = None,
    ) -> TransformersCheckpoint:
        """A new checkpoint of a model.

        Args:
            model: of Transformers.
            tokenizer: stored with it.
            path: folder; a temporary one if None.
            preprocessor: stored with it.
        """
        folder = new_folder(path)
        model.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
        return finished(cls.from_directory(folder), preprocessor)

    def get_model(self, model: Any, **pretrained_model_kwargs: Any) -> Any:
        """The model.

        Args:
            model: its class, for instance AutoModelForSequenceClassification.
            pretrained_model_kwargs: of `from_pretrained`.
        """
        with self.as_directory() as folder:
            return model.from_pretrained(files_in(folder), **pretrained_model_kwargs)

    def get_tokenizer(self, tokenizer: Any, **kwargs: Any) -> Any:
        """The tokenizer that was stored; None if there is none.

        Args:
            tokenizer: its class.
            kwargs: of `from_pretrained`.
        """
        with self.as_directory() as folder:
            inner = files_in(folder)
            if not any(name.startswith("tokenizer") for name in os.listdir(inner)):
                return None
            return tokenizer.from_pretrained(inner, **kwargs)

    def get_training_arguments(self) -> Any:
        """The TrainingArguments that the Trainer stored; None if there are none."""
        import torch

        with self.as_directory() as folder:
            path = os.path.join(files_in(folder), "training_args.bin")
            return torch.load(path, weights_only=False) if os.path.exists(path) else None


def files_in(folder: str) -> str:
    """Where in a checkpoint's folder the model's files are."""
    inner = os.path.join(folder, "checkpoint")
    return inner if os.path.isdir(inner) else folder
