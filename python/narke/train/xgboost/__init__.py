"""Training with XGBoost."""

from narke.train.xgboost._report import RayTrainReportCallback
from narke.train.xgboost.config import XGBoostConfig
from narke.train.xgboost.xgboost_checkpoint import XGBoostCheckpoint
from narke.train.xgboost.xgboost_predictor import XGBoostPredictor
from narke.train.xgboost.xgboost_trainer import XGBoostTrainer

__all__ = [
    "RayTrainReportCallback",
    "XGBoostCheckpoint",
    "XGBoostConfig",
    "XGBoostPredictor",
    "XGBoostTrainer",
]
