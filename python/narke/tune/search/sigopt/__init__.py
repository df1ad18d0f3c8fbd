"""SigOpt."""

from __future__ import annotations

from narke.tune.search.sigopt.sigopt_search import SigOptSearch, load_sigopt_key

__all__ = ["SigOptSearch", "load_sigopt_key"]
