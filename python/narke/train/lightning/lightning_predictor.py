"""Predicting with Lightning modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narke.train.torch.torch_predictor import TorchPredictor

if TYPE_CHECKING:
    from narke.train._checkpoint import Checkpoint

__all__ = ["LightningPredictor"]


class LightningPredictor(TorchPredictor):
    """Predicts with a Lightning module; see `TorchPredictor`."""

    @classmethod
    def from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint: Checkpoint,
        model_class: Any,
        *,
        preprocessor: Any = None,
        use_gpu: bool = False,
        **load_from_checkpoint_kwargs: Any,
    ) -> LightningPredictor:
        """A predictor with the module of a checkpoint.

        Args:
            checkpoint: that a Lightning Trainer wrote.
            model_class: of the module.
            preprocessor: instead of the checkpoint's.
            use_gpu: predict on a GPU.
            load_from_checkpoint_kwargs: of the class's `load_from_checkpoint`.
        """
        from narke.train.lightning.lightning_checkpoint import LightningCheckpoint

        found = LightningCheckpoint.from_checkpoint(checkpoint)
        model = found.get_model(model_class, **load_from_checkpoint_kwargs)
        return cls(model, preprocessor or found.get_preprocessor(), use_gpu)
