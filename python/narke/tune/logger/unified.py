"""`UnifiedLogger` of older programs."""

from __future__ import annotations

from narke.tune.logger._legacy import UnifiedLogger

__all__ = ["UnifiedLogger"]
