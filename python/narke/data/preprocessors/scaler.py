"""Scalers: shift and stretch numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from narke.data import aggregate as agg
from narke.data.preprocessors.columnwise import Columnwise

if TYPE_CHECKING:
    from narke.data.dataset import Dataset


LEAST = 1e-8  # spreads below it are noise: dividing by them would only show that


def _stretched(values: Any, low: Any, spread: Any) -> Any:
    """Values less `low`, divided by the spread where there is one; NaN where nothing is known of the column."""
    if low is None or spread is None:
        return values * np.nan
    return (values - low) / (1 if spread < LEAST else spread)


class StandardScaler(Columnwise):
    """To mean 0 and (population) standard deviation 1; columns of (nearly) one value to 0."""

    def _fit(self, ds: Dataset) -> dict[str, Any]:
        return ds.aggregate(*(f for c in self.columns for f in (agg.Mean(c), agg.Std(c, ddof=0))))

    def _column(self, name: str, values: Any) -> Any:
        return _stretched(values, self.stats_[f"mean({name})"], self.stats_[f"std({name})"])


class MinMaxScaler(Columnwise):
    """To the range from 0 to 1; columns of (nearly) one value to 0."""

    def _fit(self, ds: Dataset) -> dict[str, Any]:
        return ds.aggregate(*(f for c in self.columns for f in (agg.Min(c), agg.Max(c))))

    def _column(self, name: str, values: Any) -> Any:
        low, high = self.stats_[f"min({name})"], self.stats_[f"max({name})"]
        return _stretched(values, low, None if high is None else high - low)


class MaxAbsScaler(Columnwise):
    """By the greatest absolute value, to the range from -1 to 1; columns of zeros stay."""

    def _fit(self, ds: Dataset) -> dict[str, Any]:
        return ds.aggregate(*(agg.AbsMax(c) for c in self.columns))

    def _column(self, name: str, values: Any) -> Any:
        most = self.stats_[f"abs_max({name})"]
        return values * np.nan if most is None else values / (most or 1)


class RobustScaler(Columnwise):
    """By the median and the distance between two quantiles, which outliers move little.

    Args:
        columns, output_columns: see `Columnwise`. quantile_range: the two shares.
        quantile_precision: accepted for Ray's programs; quantiles are exact here.
    """

    quantile_range: tuple[float, float]
    quantile_precision: int

    def __init__(
        self,
        columns: list[str],
        quantile_range: tuple[float, float] = (0.25, 0.75),
        output_columns: list[str] | None = None,
        quantile_precision: int = 800,
    ):
        super().__init__(columns, output_columns)
        self.quantile_range, self.quantile_precision = quantile_range, quantile_precision

    def _fit(self, ds: Dataset) -> dict[str, Any]:
        low, high = self.quantile_range
        wanted = [agg.ApproximateQuantile(c, [low, 0.5, high], alias_name=c) for c in self.columns]
        found = ds.aggregate(*wanted)
        names = ("low_quantile", "median", "high_quantile")
        return {f"{n}({c})": found[c][i] for c in self.columns for i, n in enumerate(names)}

    def _column(self, name: str, values: Any) -> Any:
        spread = self.stats_[f"high_quantile({name})"] - self.stats_[f"low_quantile({name})"]
        centred = values - self.stats_[f"median({name})"]
        return centred / spread if spread else centred * 0.0


class PowerTransformer(Columnwise):
    """A power of each number, which makes skew distributions more even.

    Args:
        columns, output_columns: see `Columnwise`. power: lambda of the formula.
        method: "yeo-johnson" (https://doi.org/10.1093/biomet/87.4.954) or "box-cox", for positive numbers.
    """

    power: float
    method: str

    _is_fittable = False

    def __init__(
        self,
        columns: list[str],
        power: float,
        method: str = "yeo-johnson",
        *,
        output_columns: list[str] | None = None,
    ):
        super().__init__(columns, output_columns)
        if method not in ("yeo-johnson", "box-cox"):
            raise ValueError(f"method must be 'yeo-johnson' or 'box-cox', not {method!r}")
        self.power, self.method = power, method

    def _column(self, name: str, values: Any) -> Any:
        x, p = values.to_numpy(float), self.power
        if self.method == "box-cox":
            return np.log(x) if p == 0 else (np.power(x, p) - 1) / p
        up, down = np.where(x >= 0, x, 0.0), np.where(x < 0, -x, 0.0)
        positive = np.log1p(up) if p == 0 else ((up + 1) ** p - 1) / p
        negative = -np.log1p(down) if p == 2 else -((down + 1) ** (2 - p) - 1) / (2 - p)
        return np.where(x >= 0, positive, negative)
