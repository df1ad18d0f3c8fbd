"""Training with Hugging Face's libraries."""

from __future__ import annotations

from narke._private.lazy_names import lazy_names

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

__getattr__ = lazy_names(__name__, _HOMES)
