"""`OptunaSearch`: Optuna's samplers."""

from __future__ import annotations

from narke.tune.search.optuna.optuna_search import OptunaSearch

__all__ = ["OptunaSearch"]
