"""Numbers to the number of the bin that they are in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from narke.data import aggregate as agg
from narke.data.preprocessors.columnwise import Columnwise

if TYPE_CHECKING:
    from narke.data.dataset import Dataset


class _Discretizer(Columnwise):
    """Base: `pandas.cut` with what `_edges` gives for a column."""

    bins: Any
    right: bool
    include_lowest: bool
    duplicates: str
    dtypes: dict[str, Any] | None

    def __init__(
        self,
        columns: list[str],
        bins: Any,
        *,
        right: bool = True,
        include_lowest: bool = False,
        duplicates: str = "raise",
        dtypes: dict[str, Any] | None = None,
        output_columns: list[str] | None = None,
    ):
        super().__init__(columns, output_columns)
        self.bins, self.right, self.include_lowest = bins, right, include_lowest
        self.duplicates, self.dtypes = duplicates, dtypes

    def _edges(self, name: str) -> Any:
        raise NotImplementedError

    def _column(self, name: str, values: Any) -> Any:
        import pandas as pd

        kind = (self.dtypes or {}).get(name)
        # Whole numbers are what there is without.
        kind = kind if isinstance(kind, pd.CategoricalDtype) else None
        cut = pd.cut(
            values,
            self._edges(name),
            right=self.right,
            include_lowest=self.include_lowest,
            duplicates=self.duplicates,
            labels=kind.categories if kind is not None else False,
            ordered=kind.ordered if kind is not None else True,
        )
        return cut.astype(kind) if kind is not None else cut


class CustomKBinsDiscretizer(_Discretizer):
    """Numbers to bins with edges of the user's.

    Args:
        columns, output_columns: see `Columnwise`. bins: edges, for all columns or by column.
        right: bins hold their right edge, not their left. include_lowest: the first holds its left one, too.
        duplicates: "raise" or "drop" edges that are twice there. dtypes: by column, a pandas CategoricalDtype of names.
    """

    _is_fittable = False

    def _edges(self, name: str) -> Any:
        return self.bins[name] if isinstance(self.bins, dict) else self.bins


class UniformKBinsDiscretizer(_Discretizer):
    """Numbers to bins of equal width between the least and the greatest.

    Args:
        bins: how many, for all columns or by column. The rest: see `CustomKBinsDiscretizer`.
    """

    def _fit(self, ds: Dataset) -> dict[str, Any]:
        found = ds.aggregate(*(f(c) for c in self.columns for f in (agg.Min, agg.Max)))
        return {
            name: self._of_range(found[f"min({name})"], found[f"max({name})"], name) for name in self.columns
        }

    def _of_range(self, low: float, high: float, name: str) -> Iterable[float]:
        count = self.bins[name] if isinstance(self.bins, dict) else self.bins
        edges = np.linspace(low, high, count + 1)
        spread = (high - low) * 0.001 or 0.001 * (abs(low) or 1)
        if low == high:
            edges = np.linspace(low - spread, high + spread, count + 1)
        elif self.right:
            edges[0] -= spread
        else:
            edges[-1] += spread
        return edges

    def _edges(self, name: str) -> Any:
        return self.stats_[name]
