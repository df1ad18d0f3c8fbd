"""The trainer for Horovod, under the name of this module."""

from __future__ import annotations

from narke.train.horovod.horovod_trainer import HorovodTrainer

__all__ = ["HorovodTrainer"]
