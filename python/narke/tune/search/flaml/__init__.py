"""FLAML."""

from __future__ import annotations

from narke.tune.search.flaml.flaml_search import CFO, BlendSearch

__all__ = ["CFO", "BlendSearch"]
