"""`CometLoggerCallback` under the name of older programs."""

from __future__ import annotations

from narke.tune.logger.comet import CometLoggerCallback

__all__ = ["CometLoggerCallback"]
