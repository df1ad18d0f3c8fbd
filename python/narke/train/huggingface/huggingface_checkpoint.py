"""`HuggingFaceCheckpoint`: the first name of `TransformersCheckpoint`."""

from __future__ import annotations

from narke.train.huggingface.transformers.transformers_checkpoint import (
    TransformersCheckpoint as HuggingFaceCheckpoint,
)

__all__ = ["HuggingFaceCheckpoint"]
