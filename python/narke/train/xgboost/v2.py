"""The trainer for XGBoost, under the name of this module."""

from __future__ import annotations

from narke.train.xgboost.xgboost_trainer import XGBoostTrainer

__all__ = ["XGBoostTrainer"]
