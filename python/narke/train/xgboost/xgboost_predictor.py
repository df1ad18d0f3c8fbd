"""Predicting with XGBoost models."""

from __future__ import annotations

from typing import Any

from narke.train._predicting import TablePredictor

__all__ = ["XGBoostPredictor"]


class XGBoostPredictor(TablePredictor):
    """Predicts with a booster; arguments as of `TablePredictor`."""

    @classmethod
    def _checkpoint_class(cls) -> Any:
        from narke.train.xgboost.xgboost_checkpoint import XGBoostCheckpoint

        return XGBoostCheckpoint

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
        return super().predict(data, feature_columns, dmatrix_kwargs=dmatrix_kwargs, **predict_kwargs)

    def _predicted(
        self, features: Any, dmatrix_kwargs: dict[str, Any] | None = None, **predict_kwargs: Any
    ) -> Any:
        import xgboost

        return self.model.predict(xgboost.DMatrix(features, **(dmatrix_kwargs or {})), **predict_kwargs)
