"""`WandbLoggerCallback`, under its first name."""

from __future__ import annotations

from narke.tune.logger.wandb import WandbLoggerCallback

__all__ = ["WandbLoggerCallback"]
