"""Comet's logger, which lives in Tune."""

from __future__ import annotations

from narke.tune.logger.comet import CometLoggerCallback

__all__ = ["CometLoggerCallback"]
