"""`TuneBOHB`: BOHB."""

from __future__ import annotations

from narke.tune.search.bohb.bohb_search import BOHB, TuneBOHB

__all__ = ["BOHB", "TuneBOHB"]
