"""`HuggingFaceTrainer`: the first name of `TransformersTrainer`."""

from __future__ import annotations

from narke.train.huggingface.transformers.transformers_trainer import (
    TransformersTrainer as HuggingFaceTrainer,
)

__all__ = ["TRAINER_INIT_FN_KEY", "HuggingFaceTrainer"]

TRAINER_INIT_FN_KEY = "_trainer_init_per_worker"
