"""Searches over spaces of listed values, as older programs use them."""

from __future__ import annotations

from narke.tune.automl.genetic_searcher import GeneticSearch
from narke.tune.automl.search_policy import GridSearch, RandomSearch
from narke.tune.automl.search_space import ContinuousSpace, DiscreteSpace, SearchSpace

__all__ = ["ContinuousSpace", "DiscreteSpace", "GeneticSearch", "GridSearch", "RandomSearch", "SearchSpace"]
