"""Predicting with a trained model, batch by batch."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from narke.air.util.data_batch_conversion import BatchFormat

if TYPE_CHECKING:
    import pandas as pd

    from narke.train._checkpoint import Checkpoint

__all__ = ["TYPE_TO_ENUM", "Predictor", "PredictorNotSerializableException"]


class PredictorNotSerializableException(RuntimeError):
    """A predictor was pickled; pickle the checkpoint instead and make the predictor where it is used."""


class _Formats(dict):
    """The batch format of a type of data; pandas is imported when it is asked for."""

    def __missing__(self, kind: type) -> BatchFormat:
        if kind.__name__ == "DataFrame":
            return BatchFormat.PANDAS
        raise KeyError(kind)


TYPE_TO_ENUM: dict[type, BatchFormat] = _Formats({np.ndarray: BatchFormat.NUMPY, dict: BatchFormat.NUMPY})


class Predictor(abc.ABC):
    """Predicts for batches of data.

    Subclasses say how for data frames (`_predict_pandas`) or for arrays (`_predict_numpy`), or both.

    Args:
        preprocessor: applied to each batch first.
    """

    def __init__(self, preprocessor: Any = None) -> None:
        self._preprocessor = preprocessor
        self._cast_tensor_columns = False

    @classmethod
    @abc.abstractmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, **kwargs: Any) -> Any:
        """A predictor with the model of a checkpoint."""

    @classmethod
    def from_pandas_udf(cls, pandas_udf: Callable[[pd.DataFrame], pd.DataFrame]) -> Any:
        """A predictor that calls a function.

        Args:
            pandas_udf: from a data frame to one of predictions.
        """

        class PandasUDFPredictor(Predictor):
            @classmethod
            def from_checkpoint(cls, checkpoint: Checkpoint, **kwargs: Any) -> Any:
                return cls()

            def _predict_pandas(self, data: pd.DataFrame, **kwargs: Any) -> pd.DataFrame:
                return pandas_udf(data, **kwargs)

        return PandasUDFPredictor()

    def get_preprocessor(self) -> Any:
        """The preprocessor, or None."""
        return self._preprocessor

    def set_preprocessor(self, preprocessor: Any) -> None:
        """Use another preprocessor, or None."""
        self._preprocessor = preprocessor

    @classmethod
    def preferred_batch_format(cls) -> BatchFormat:
        """The format in which this class predicts fastest."""
        own_numpy = cls._predict_numpy is not Predictor._predict_numpy
        own_pandas = cls._predict_pandas is not Predictor._predict_pandas
        return BatchFormat.NUMPY if own_numpy and not own_pandas else BatchFormat.PANDAS

    def _set_cast_tensor_columns(self) -> None:
        self._cast_tensor_columns = True

    def predict(self, data: Any, **kwargs: Any) -> Any:
        """Predict.

        Args:
            data: a data frame, an array, or arrays by column.
            kwargs: of the subclass.

        Returns:
            predictions in the format of `data`.

        Raises:
            NotImplementedError: the subclass predicts for no format.
            ValueError: `data` is of another type.
        """
        from narke.air.util.data_batch_conversion import (
            convert_batch_type_to_pandas,
            convert_pandas_to_batch_type,
        )

        if self._preprocessor is not None:
            data = self._preprocessor.transform_batch(data)
        is_frame = type(data).__name__ == "DataFrame"
        has_numpy = type(self)._predict_numpy is not Predictor._predict_numpy
        has_pandas = type(self)._predict_pandas is not Predictor._predict_pandas
        if not (has_numpy or has_pandas):
            raise NotImplementedError(
                f"{type(self).__name__} defines neither _predict_pandas nor _predict_numpy"
            )
        if has_pandas and (is_frame or not has_numpy):
            found = self._predict_pandas(convert_batch_type_to_pandas(data), **kwargs)
            return found if is_frame else convert_pandas_to_batch_type(found, BatchFormat.NUMPY)
        arrays = convert_pandas_to_batch_type(data, BatchFormat.NUMPY) if is_frame else data
        found = self._predict_numpy(arrays, **kwargs)
        return convert_batch_type_to_pandas(found) if is_frame else found

    def _predict_pandas(self, *args: Any, **kwargs: Any) -> pd.DataFrame:
        raise NotImplementedError

    def _predict_numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def __reduce__(self) -> Any:
        raise PredictorNotSerializableException(
            f"a {type(self).__name__} is not pickled: pickle its Checkpoint, and call "
            f"{type(self).__name__}.from_checkpoint where it is used"
        )
