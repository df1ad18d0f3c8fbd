"""Training with PyTorch on XLA devices."""

from narke.train.torch.xla.config import TorchXLAConfig

__all__ = ["TorchXLAConfig"]
