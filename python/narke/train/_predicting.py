"""What predictors of several frameworks share: those on tables, and those on tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from narke.air.constants import TENSOR_COLUMN_NAME
from narke.air.util.data_batch_conversion import BatchFormat
from narke.train.predictor import Predictor

if TYPE_CHECKING:
    import pandas as pd

    from narke.train._checkpoint import Checkpoint

__all__ = ["TablePredictor", "TensorPredictor"]


class TablePredictor(Predictor):
    """Predicts from the columns of tables.

    Subclasses say which checkpoints they read (`_checkpoint_class`) and how their model predicts (`_predicted`).

    Args:
        model: trained.
        preprocessor: applied to each batch first.
    """

    def __init__(self, model: Any, preprocessor: Any = None) -> None:
        super().__init__(preprocessor)
        self.model = model

    @classmethod
    def _checkpoint_class(cls) -> Any:
        raise NotImplementedError

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, **kwargs: Any) -> Any:
        """A predictor with the model of a checkpoint."""
        found = cls._checkpoint_class().from_checkpoint(checkpoint)
        return cls(found.get_model(), found.get_preprocessor())

    def predict(
        self, data: Any, feature_columns: list[str] | list[int] | None = None, **predict_kwargs: Any
    ) -> Any:
        """Predict.

        Args:
            data: see `Predictor.predict`.
            feature_columns: to use; all if None.
            predict_kwargs: of the model's predict.
        """
        return super().predict(data, feature_columns=feature_columns, **predict_kwargs)

    def _predict_pandas(
        self, data: pd.DataFrame, feature_columns: list | None = None, **predict_kwargs: Any
    ) -> pd.DataFrame:
        return _as_frame(self._predicted(_features_of(data, feature_columns), **predict_kwargs))

    def _predicted(self, features: Any, **predict_kwargs: Any) -> Any:
        """The model's predictions for features."""
        return self.model.predict(features, **predict_kwargs)


def _features_of(data: pd.DataFrame, columns: list | None) -> Any:
    """The features in a data frame, whose only column may hold rows of an array; all columns if None."""
    if list(data.columns) == [TENSOR_COLUMN_NAME]:
        values = np.stack([np.asarray(each) for each in data[TENSOR_COLUMN_NAME]])
        return values[:, columns] if columns else values
    return data[columns] if columns else data


def _as_frame(predictions: Any) -> pd.DataFrame:
    """Predictions as a data frame: one column, or a numbered one for each class."""
    import pandas as pd

    if np.ndim(predictions) == 1:
        return pd.DataFrame({"predictions": predictions})
    frame = pd.DataFrame(np.asarray(predictions))
    frame.columns = [f"predictions_{at}" for at in range(frame.shape[1])]
    return frame


class TensorPredictor(Predictor):
    """Predicts from tensors; subclasses make them of arrays (`_tensor`)."""

    def predict(self, data: Any, dtype: Any = None, **kwargs: Any) -> Any:
        """Predict.

        Args:
            data: see `Predictor.predict`.
            dtype: of the tensors, or by column.
        """
        return super().predict(data, dtype=dtype, **kwargs)

    @classmethod
    def preferred_batch_format(cls) -> BatchFormat:
        """Arrays."""
        return BatchFormat.NUMPY

    def _inputs(self, data: Any, dtype: Any) -> Any:
        """A tensor of an array or of the only column, else tensors by column."""
        if isinstance(data, dict) and len(data) == 1:
            name = next(iter(data))
            return self._tensor(data[name], dtype.get(name) if isinstance(dtype, dict) else dtype)
        if not isinstance(data, dict):
            return self._tensor(data, dtype)
        kinds = dtype if isinstance(dtype, dict) else dict.fromkeys(data, dtype)
        return {name: self._tensor(each, kinds.get(name)) for name, each in data.items()}

    def _tensor(self, values: np.ndarray, dtype: Any) -> Any:
        raise NotImplementedError
