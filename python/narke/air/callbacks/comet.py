"""`CometLoggerCallback`, under its first name."""

from __future__ import annotations

from narke.tune.logger.comet import CometLoggerCallback

__all__ = ["CometLoggerCallback"]
