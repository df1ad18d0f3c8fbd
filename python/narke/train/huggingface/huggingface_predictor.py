"""`HuggingFacePredictor`: the first name of `TransformersPredictor`."""

from __future__ import annotations

from typing import Any

from narke.train.huggingface.transformers.transformers_predictor import (
    TransformersPredictor as HuggingFacePredictor,
)

__all__ = ["HuggingFacePredictor", "tf_get_gpus", "torch_get_gpus"]


def torch_get_gpus() -> int:
    """How many GPUs PyTorch sees."""
    import torch

    return torch.cuda.device_count()


def tf_get_gpus() -> list[Any]:
    """The GPUs that TensorFlow sees."""
    import tensorflow

    return tensorflow.config.list_physical_devices("GPU")
