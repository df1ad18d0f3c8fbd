"""`NevergradSearch`: Nevergrad."""

from __future__ import annotations

from narke.tune.search.nevergrad.nevergrad_search import NevergradSearch

__all__ = ["NevergradSearch"]
