"""`AxSearch`: Ax."""

from __future__ import annotations

from narke.tune.search.ax.ax_search import AxSearch

__all__ = ["AxSearch"]
