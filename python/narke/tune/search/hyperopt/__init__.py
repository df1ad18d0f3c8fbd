"""`HyperOptSearch`: HyperOpt's tree of Parzen estimators."""

from __future__ import annotations

from narke.tune.search.hyperopt.hyperopt_search import HyperOptSearch

__all__ = ["HyperOptSearch"]
