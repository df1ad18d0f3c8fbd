"""Settings of XGBoost, under the name of this module."""

from __future__ import annotations

from narke.train.xgboost.config import XGBoostConfig

__all__ = ["XGBoostConfig"]
