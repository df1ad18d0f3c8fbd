"""Results, under the name of this module."""

from __future__ import annotations

from narke.train._result import Result

__all__ = ["Result"]
