"""Training with LightGBM."""

from narke.train.lightgbm._report import RayTrainReportCallback, normalize_pandas_for_lightgbm
from narke.train.lightgbm.config import LightGBMConfig, get_network_params
from narke.train.lightgbm.lightgbm_checkpoint import LightGBMCheckpoint
from narke.train.lightgbm.lightgbm_predictor import LightGBMPredictor
from narke.train.lightgbm.lightgbm_trainer import LightGBMTrainer

__all__ = [
    "LightGBMCheckpoint",
    "LightGBMConfig",
    "LightGBMPredictor",
    "LightGBMTrainer",
    "RayTrainReportCallback",
    "get_network_params",
    "normalize_pandas_for_lightgbm",
]
