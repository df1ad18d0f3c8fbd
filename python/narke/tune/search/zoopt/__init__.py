"""`ZOOptSearch`: ZOOpt."""

from __future__ import annotations

from narke.tune.search.zoopt.zoopt_search import ZOOptSearch

__all__ = ["ZOOptSearch"]
