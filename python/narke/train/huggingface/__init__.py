"""Training with Hugging Face's libraries."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "AccelerateTrainer": "accelerate.accelerate_trainer",
    "HuggingFaceCheckpoint": "huggingface_checkpoint",
    "HuggingFacePredictor": "huggingface_predictor",
    "HuggingFaceTrainer": "huggingface_trainer",
    "TransformersCheckpoint": "transformers.transformers_checkpoint",
    "TransformersPredictor": "transformers.transformers_predictor",
    "TransformersTrainer": "transformers.transformers_trainer",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"narke.train.huggingface has no {name!r}; what it has is in its __all__")
