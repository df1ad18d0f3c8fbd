"""Reinforcement learning with the algorithms of RLlib, or with others that have the same interface."""

from __future__ import annotations

from narke.train.rl.rl_checkpoint import RLCheckpoint
from narke.train.rl.rl_predictor import RLPredictor
from narke.train.rl.rl_trainer import RLTrainer

__all__ = ["RLCheckpoint", "RLPredictor", "RLTrainer"]
