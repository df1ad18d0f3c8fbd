"""Predicting with LightGBM models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narke.train.predictor import Predictor

if TYPE_CHECKING:
    import lightgbm
    import pandas as pd

    from narke.train._checkpoint import Checkpoint

__all__ = ["LightGBMPredictor"]


class LightGBMPredictor(Predictor):
    """Predicts with a booster.

    Args:
        model: the booster.
        preprocessor: applied to each batch first.
    """

    def __init__(self, model: lightgbm.Booster, preprocessor: Any = None) -> None:
        super().__init__(preprocessor)
        self.model = model

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, **kwargs: Any) -> LightGBMPredictor:
        """A predictor with the model of a checkpoint."""
        from narke.train.lightgbm.lightgbm_checkpoint import LightGBMCheckpoint

        found = LightGBMCheckpoint.from_checkpoint(checkpoint)
        return cls(found.get_model(), found.get_preprocessor())

    def predict(
        self, data: Any, feature_columns: list[str] | list[int] | None = None, **predict_kwargs: Any
    ) -> Any:
        """Predict.

        Args:
            data: see `Predictor.predict`.
            feature_columns: to use; all if None.
            predict_kwargs: of `Booster.predict`.
        """
        return super().predict(data, feature_columns=feature_columns, **predict_kwargs)

    def _predict_pandas(
        self, data: pd.DataFrame, feature_columns: list | None = None, **predict_kwargs: Any
    ) -> pd.DataFrame:
        from narke.train._predicting import as_frame, features_of

        return as_frame(self.model.predict(features_of(data, feature_columns), **predict_kwargs))
