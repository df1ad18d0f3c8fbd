"""Training with Hugging Face Accelerate."""

from narke.train.huggingface.accelerate.accelerate_trainer import AccelerateTrainer

__all__ = ["AccelerateTrainer"]
