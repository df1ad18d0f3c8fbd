"""Training with Horovod."""

from narke.train.horovod.config import HorovodConfig
from narke.train.horovod.horovod_trainer import HorovodTrainer

__all__ = ["HorovodConfig", "HorovodTrainer"]
