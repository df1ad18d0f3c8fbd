"""scikit-optimize."""

from __future__ import annotations

from narke.tune.search.skopt.skopt_search import SkOptSearch

__all__ = ["SkOptSearch"]
