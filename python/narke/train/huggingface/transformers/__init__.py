"""Training with Hugging Face Transformers."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "RayTrainReportCallback": "_utils",
    "TransformersCheckpoint": "transformers_checkpoint",
    "TransformersPredictor": "transformers_predictor",
    "TransformersTrainer": "transformers_trainer",
    "prepare_trainer": "_utils",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(
        f"narke.train.huggingface.transformers has no {name!r}; what it has is in its __all__"
    )
