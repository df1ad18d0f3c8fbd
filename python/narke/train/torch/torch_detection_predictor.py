"""Predicting with PyTorch models that detect objects in images."""

from __future__ import annotations

from typing import Any

import numpy as np

from narke.train.torch.torch_predictor import TorchPredictor

__all__ = ["TorchDetectionPredictor"]


class TorchDetectionPredictor(TorchPredictor):
    """Predicts with a torchvision detection model: a batch of images in, columns of boxes, labels and scores out."""

    def call_model(self, inputs: Any) -> Any:
        """Call the module with a list of images.

        Args:
            inputs: a tensor of images.

        Returns:
            a list with a dict of tensors for each image.
        """
        import torch

        with torch.no_grad():
            return self.model(list(inputs))

    def _predict_numpy(self, data: Any, dtype: Any = None) -> dict[str, np.ndarray]:
        images = next(iter(data.values())) if isinstance(data, dict) else data
        found = self.call_model([self._tensor(np.asarray(each), dtype) for each in images])
        columns: dict[str, np.ndarray] = {}
        for name in found[0] if found else ():
            column = np.empty(len(found), dtype=object)
            for at, each in enumerate(found):
                column[at] = each[name].cpu().numpy()
            columns[f"pred_{name}"] = column
        return columns
