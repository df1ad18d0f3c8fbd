"""The trainer for PyTorch, under the name of this module."""

from __future__ import annotations

from narke.train.torch.torch_trainer import TorchTrainer

__all__ = ["TorchTrainer"]
