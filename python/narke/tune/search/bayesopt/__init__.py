"""`BayesOptSearch`: the package bayesian-optimization."""

from __future__ import annotations

from narke.tune.search.bayesopt.bayesopt_search import BayesOptSearch

__all__ = ["BayesOptSearch"]
