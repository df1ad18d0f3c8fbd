"""The trainer that runs a function on every worker, under the name of this module."""

from __future__ import annotations

from narke.train.data_parallel_trainer import DataParallelTrainer

__all__ = ["DataParallelTrainer"]
