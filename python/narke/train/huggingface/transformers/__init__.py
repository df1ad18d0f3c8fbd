"""Training with Hugging Face Transformers."""

from __future__ import annotations

from narke._private.lazy_names import lazy_names

_HOMES = {
    "RayTrainReportCallback": "_utils",
    "TransformersCheckpoint": "transformers_checkpoint",
    "TransformersPredictor": "transformers_predictor",
    "TransformersTrainer": "transformers_trainer",
    "prepare_trainer": "_utils",
}
__all__ = sorted(_HOMES)

__getattr__ = lazy_names(__name__, _HOMES)
