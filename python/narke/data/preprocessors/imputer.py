"""Fills what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narke.data import aggregate as agg
from narke.data.preprocessors.columnwise import Columnwise

if TYPE_CHECKING:
    from narke.data.dataset import Dataset

STRATEGIES = ("mean", "most_frequent", "constant")


class SimpleImputer(Columnwise):
    """Fills nulls and NaN.

    Args:
        columns, output_columns: see `Columnwise`.
        strategy: "mean", "most_frequent", or "constant", which takes `fill_value`.
    """

    strategy: str
    fill_value: Any

    def __init__(
        self,
        columns: list[str],
        strategy: str = "mean",
        fill_value: Any = None,
        *,
        output_columns: list[str] | None = None,
    ):
        super().__init__(columns, output_columns)
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy must be one of {STRATEGIES}, not {strategy!r}")
        if strategy == "constant" and fill_value is None:
            raise ValueError("strategy 'constant' needs fill_value")
        self.strategy, self.fill_value = strategy, fill_value
        self._is_fittable = strategy != "constant"

    def _fit(self, ds: Dataset) -> dict[str, Any]:
        if self.strategy == "mean":
            return ds.aggregate(*(agg.Mean(c) for c in self.columns))
        return {f"most_frequent({c})": self._most_frequent(ds, c) for c in self.columns}

    @staticmethod
    def _most_frequent(ds: Dataset, name: str) -> Any:
        counts = [
            row
            for row in ds.groupby(name).count().take_all()
            if row[name] is not None and row[name] == row[name]
        ]
        if not counts:
            raise ValueError(f"column {name!r} has no values to choose the most frequent of")
        return max(counts, key=lambda row: row["count()"])[name]

    def _column(self, name: str, values: Any) -> Any:
        fill = self.fill_value if self.strategy == "constant" else self.stats_[f"{self.strategy}({name})"]
        if fill is None or fill != fill:
            raise ValueError(
                f"SimpleImputer has nothing to fill column {name!r} with: it was fitted to no values"
            )
        return values.fillna(fill)
