"""The base of trainers of boosted trees, under its first name."""

from __future__ import annotations

from narke.train._gbdt import BoostedTrainer as GBDTTrainer

__all__ = ["GBDTTrainer"]
