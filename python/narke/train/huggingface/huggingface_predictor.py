"""`HuggingFacePredictor`: the first name of `TransformersPredictor`."""

from __future__ import annotations

from narke.train.huggingface.transformers.transformers_predictor import (
    TransformersPredictor as HuggingFacePredictor,
)

__all__ = ["HuggingFacePredictor"]
