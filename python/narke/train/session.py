"""The session of a training function, under the name of this module."""

from __future__ import annotations

from narke.train._session import Session, current, require, set_current

__all__ = ["Session", "current", "require", "set_current"]
