"""Checkpoints of LightGBM models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from narke.train._booster_checkpoint import BoosterCheckpoint

if TYPE_CHECKING:
    import lightgbm

__all__ = ["LightGBMCheckpoint"]


class LightGBMCheckpoint(BoosterCheckpoint):
    """A checkpoint with a booster in ``model.txt``."""

    MODEL_FILENAME = "model.txt"

    @staticmethod
    def _read(path: str) -> lightgbm.Booster:
        from lightgbm import Booster

        return Booster(model_file=path)

    @staticmethod
    def rounds_of(booster: lightgbm.Booster) -> int:
        """How many rounds a booster was trained."""
        return booster.current_iteration()
