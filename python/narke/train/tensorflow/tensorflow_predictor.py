"""Predicting with Keras models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from narke.train._predicting import TensorPredictor

if TYPE_CHECKING:
    from narke.train._checkpoint import Checkpoint

__all__ = ["TensorflowPredictor"]


class TensorflowPredictor(TensorPredictor):
    """Predicts with a Keras model.

    Args:
        model: the model.
        preprocessor: applied to each batch first.
        use_gpu: predict on a GPU.
    """

    def __init__(self, *, model: Any = None, preprocessor: Any = None, use_gpu: bool = False) -> None:
        super().__init__(preprocessor)
        self.model, self.use_gpu = model, use_gpu

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Checkpoint, model_definition: Any = None, use_gpu: bool = False, **kwargs: Any
    ) -> TensorflowPredictor:
        """A predictor with the model of a checkpoint.

        Args:
            checkpoint: with a model.
            model_definition: has no use: checkpoints hold whole models.
            use_gpu: predict on a GPU.
        """
        from narke.train.tensorflow.tensorflow_checkpoint import TensorflowCheckpoint

        found = TensorflowCheckpoint.from_checkpoint(checkpoint)
        return cls(model=found.get_model(), preprocessor=found.get_preprocessor(), use_gpu=use_gpu)

    def call_model(self, inputs: Any) -> Any:
        """Call the model.

        Args:
            inputs: a tensor, or tensors by name.

        Returns:
            a tensor, or tensors by name.
        """
        import tensorflow as tf

        with tf.device("GPU:0" if self.use_gpu else "CPU:0"):
            return self.model(inputs)

    def _predict_numpy(self, data: Any, dtype: Any = None) -> dict[str, np.ndarray]:
        found = self.call_model(self._inputs(data, dtype))
        named = found if isinstance(found, dict) else {"predictions": found}
        return {name: np.asarray(each) for name, each in named.items()}

    def _tensor(self, values: np.ndarray, dtype: Any) -> Any:
        import tensorflow as tf

        return tf.convert_to_tensor(np.asarray(values), dtype=dtype)
