"""Dragonfly."""

from __future__ import annotations

from narke.tune.search.dragonfly.dragonfly_search import DragonflySearch

__all__ = ["DragonflySearch"]
