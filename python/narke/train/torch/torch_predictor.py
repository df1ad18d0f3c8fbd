"""Predicting with PyTorch models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from narke.train._predicting import TensorPredictor

if TYPE_CHECKING:
    import torch

    from narke.train._checkpoint import Checkpoint

__all__ = ["TorchPredictor"]


class TorchPredictor(TensorPredictor):
    """Predicts with a module.

    Args:
        model: the module.
        preprocessor: applied to each batch first.
        use_gpu: predict on a GPU.
    """

    def __init__(self, model: torch.nn.Module, preprocessor: Any = None, use_gpu: bool = False) -> None:
        import torch

        super().__init__(preprocessor)
        self.use_gpu = use_gpu
        self.device = torch.device("cuda" if use_gpu else "cpu")
        self.model = model.to(self.device).eval()

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        model: torch.nn.Module | None = None,
        use_gpu: bool = False,
        **kwargs: Any,
    ) -> TorchPredictor:
        """A predictor with the model of a checkpoint.

        Args:
            checkpoint: a `TorchCheckpoint`, or one with the same files.
            model: what a stored state is loaded into.
            use_gpu: predict on a GPU.
        """
        from narke.train.torch.torch_checkpoint import TorchCheckpoint

        found = TorchCheckpoint.from_checkpoint(checkpoint)
        return cls(found.get_model(model), found.get_preprocessor(), use_gpu, **kwargs)

    def call_model(self, inputs: Any) -> Any:
        """Call the module.

        Args:
            inputs: a tensor, or tensors by name.

        Returns:
            a tensor, or tensors by name.
        """
        import torch

        with torch.no_grad():
            return self.model(inputs)

    def _predict_numpy(self, data: Any, dtype: Any = None) -> dict[str, np.ndarray]:
        import torch

        found = self.call_model(self._inputs(data, dtype))
        if isinstance(found, torch.Tensor):
            return {"predictions": found.cpu().numpy()}
        if isinstance(found, dict):
            return {name: each.cpu().numpy() for name, each in found.items()}
        raise ValueError(
            f"the model gives a {type(found).__name__}; override call_model to give a tensor or a dict of them"
        )

    def _tensor(self, values: np.ndarray, dtype: Any) -> Any:
        import torch

        if values.dtype == object:
            values = np.stack([np.asarray(each) for each in values])
        return torch.as_tensor(np.array(values), dtype=dtype, device=self.device)
