"""Predicting with XGBoost models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narke.train.predictor import Predictor

if TYPE_CHECKING:
    import pandas as pd
    import xgboost

    from narke.train._checkpoint import Checkpoint

__all__ = ["XGBoostPredictor"]


class XGBoostPredictor(Predictor):
    """Predicts with a booster.

    Args:
        model: the booster.
        preprocessor: applied to each batch first.
    """

    def __init__(self, model: xgboost.Booster, preprocessor: Any = None) -> None:
        super().__init__(preprocessor)
        self.model = model

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, **kwargs: Any) -> XGBoostPredictor:
        """A predictor with the model of a checkpoint."""
        from narke.train.xgboost.xgboost_checkpoint import XGBoostCheckpoint

        found = XGBoostCheckpoint.from_checkpoint(checkpoint)
        return cls(found.get_model(), found.get_preprocessor())

    def predict(
        self,
        data: Any,
        feature_columns: list[str] | list[int] | None = None,
        dmatrix_kwargs: dict[str, Any] | None = None,
        **predict_kwargs: Any,
    ) -> Any:
        """Predict.

        Args:
            data: see `Predictor.predict`.
            feature_columns: to use; all if None.
            dmatrix_kwargs: of DMatrix.
            predict_kwargs: of `Booster.predict`.
        """
        return super().predict(
            data, feature_columns=feature_columns, dmatrix_kwargs=dmatrix_kwargs or {}, **predict_kwargs
        )

    def _predict_pandas(
        self,
        data: pd.DataFrame,
        feature_columns: list | None = None,
        dmatrix_kwargs: dict[str, Any] | None = None,
        **predict_kwargs: Any,
    ) -> pd.DataFrame:
        import xgboost

        from narke.train._predicting import as_frame, features_of

        matrix = xgboost.DMatrix(features_of(data, feature_columns), **(dmatrix_kwargs or {}))
        return as_frame(self.model.predict(matrix, **predict_kwargs))
