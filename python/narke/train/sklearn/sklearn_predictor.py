"""Predicting with scikit-learn estimators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narke.train._predicting import TablePredictor

if TYPE_CHECKING:
    from narke.train._checkpoint import Checkpoint

__all__ = ["SklearnPredictor"]


class SklearnPredictor(TablePredictor):
    """Predicts with an estimator.

    Args:
        estimator: fitted.
        preprocessor: applied to each batch first.
    """

    def __init__(self, estimator: Any, preprocessor: Any = None) -> None:
        super().__init__(estimator, preprocessor)

    @property
    def estimator(self) -> Any:
        """What predicts."""
        return self.model

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, **kwargs: Any) -> SklearnPredictor:
        """A predictor with the estimator of a checkpoint."""
        from narke.train.sklearn.sklearn_checkpoint import SklearnCheckpoint

        found = SklearnCheckpoint.from_checkpoint(checkpoint)
        return cls(found.get_estimator(), found.get_preprocessor())

    def predict(
        self,
        data: Any,
        feature_columns: list[str] | list[int] | None = None,
        num_estimator_cpus: int | None = None,
        **predict_kwargs: Any,
    ) -> Any:
        """Predict.

        Args:
            data: see `Predictor.predict`.
            feature_columns: to use; all if None.
            num_estimator_cpus: CPUs that the estimator may use (its n_jobs).
            predict_kwargs: of the estimator's predict.
        """
        if num_estimator_cpus:
            from narke.train.sklearn.sklearn_trainer import set_cpus

            set_cpus(self.estimator, num_estimator_cpus)
        return super().predict(data, feature_columns, **predict_kwargs)
