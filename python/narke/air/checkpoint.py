"""Checkpoints, under the name of this module."""

from __future__ import annotations

from narke.train._checkpoint import Checkpoint

__all__ = ["Checkpoint"]
