"""Predicting with LightGBM models."""

from __future__ import annotations

from typing import Any

from narke.train._predicting import TablePredictor

__all__ = ["LightGBMPredictor"]


class LightGBMPredictor(TablePredictor):
    """Predicts with a booster; arguments as of `TablePredictor`."""

    @classmethod
    def _checkpoint_class(cls) -> Any:
        from narke.train.lightgbm.lightgbm_checkpoint import LightGBMCheckpoint

        return LightGBMCheckpoint
