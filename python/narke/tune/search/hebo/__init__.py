"""`HEBOSearch`: HEBO."""

from __future__ import annotations

from narke.tune.search.hebo.hebo_search import HEBOSearch

__all__ = ["HEBOSearch"]
