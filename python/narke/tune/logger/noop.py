"""`NoopLogger` of older programs."""

from __future__ import annotations

from narke.tune.logger._legacy import NoopLogger

__all__ = ["NoopLogger"]
