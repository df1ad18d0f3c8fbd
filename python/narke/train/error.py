"""Errors of training functions."""

from __future__ import annotations

__all__ = ["SessionMisuseError"]


class SessionMisuseError(RuntimeError):
    """A call that belongs into a training function was made outside of one."""
