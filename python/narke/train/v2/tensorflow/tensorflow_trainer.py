"""The trainer for TensorFlow, under the name of this module."""

from __future__ import annotations

from narke.train.tensorflow.tensorflow_trainer import TensorflowTrainer

__all__ = ["TensorflowTrainer"]
