"""Scalers: shift and stretch numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narke.data import aggregate as agg
from narke.data.preprocessors.columnwise import Columnwise

if TYPE_CHECKING:
    from narke.data.dataset import Dataset


class StandardScaler(Columnwise):
    """To mean 0 and (population) standard deviation 1; columns of one value to 0."""

    def _fit(self, ds: Dataset) -> dict[str, Any]:
        return ds.aggregate(*(f for c in self.columns for f in (agg.Mean(c), agg.Std(c, ddof=0))))

    def _column(self, name: str, values: Any) -> Any:
        spread = self.stats_[f"std({name})"]
        return (values - self.stats_[f"mean({name})"]) / (spread or 1)


class MinMaxScaler(Columnwise):
    """To the range from 0 to 1; columns of one value to 0."""

    def _fit(self, ds: Dataset) -> dict[str, Any]:
        return ds.aggregate(*(f for c in self.columns for f in (agg.Min(c), agg.Max(c))))

    def _column(self, name: str, values: Any) -> Any:
        low, high = self.stats_[f"min({name})"], self.stats_[f"max({name})"]
        return (values - low) / ((high - low) or 1)


class MaxAbsScaler(Columnwise):
    """By the greatest absolute value, to the range from -1 to 1; columns of zeros stay."""

    def _fit(self, ds: Dataset) -> dict[str, Any]:
        return ds.aggregate(*(agg.AbsMax(c) for c in self.columns))

    def _column(self, name: str, values: Any) -> Any:
        return values / (self.stats_[f"abs_max({name})"] or 1)
