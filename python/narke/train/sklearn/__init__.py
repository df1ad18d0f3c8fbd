"""Training with scikit-learn."""

from narke.train.sklearn.sklearn_checkpoint import SklearnCheckpoint
from narke.train.sklearn.sklearn_predictor import SklearnPredictor
from narke.train.sklearn.sklearn_trainer import SklearnTrainer

__all__ = ["SklearnCheckpoint", "SklearnPredictor", "SklearnTrainer"]
