"""`HuggingFaceTrainer`: the first name of `TransformersTrainer`."""

from __future__ import annotations

from narke.train.huggingface.transformers.transformers_trainer import (
    TransformersTrainer as HuggingFaceTrainer,
)

__all__ = ["HuggingFaceTrainer"]
