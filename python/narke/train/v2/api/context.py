"""Contexts of training functions, under the names of this module."""

from __future__ import annotations

from narke.train.context import LocalContext as LocalTrainContext
from narke.train.context import TrainContext
from narke.train.context import WorkerContext as DistributedTrainContext

__all__ = ["DistributedTrainContext", "LocalTrainContext", "TrainContext"]
