"""`MLflowLoggerCallback`, under its first name."""

from __future__ import annotations

from narke.tune.logger.mlflow import MLflowLoggerCallback

__all__ = ["MLflowLoggerCallback"]
