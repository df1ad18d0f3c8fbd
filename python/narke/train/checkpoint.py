"""`CheckpointStrategy`: the first name of `CheckpointConfig`."""

from __future__ import annotations

from dataclasses import dataclass

from narke.air.config import CheckpointConfig

__all__ = ["CheckpointStrategy"]


@dataclass(repr=False)
class CheckpointStrategy(CheckpointConfig):
    """See `narke.air.CheckpointConfig`."""
