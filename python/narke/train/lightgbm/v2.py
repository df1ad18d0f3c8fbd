"""The trainer for LightGBM, under the name of this module."""

from __future__ import annotations

from narke.train.lightgbm.lightgbm_trainer import LightGBMTrainer

__all__ = ["LightGBMTrainer"]
