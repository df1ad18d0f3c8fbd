"""Summaries of datasets."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from narke.data import aggregate as agg
from narke.data.near_names import unknown

if TYPE_CHECKING:
    from narke.data.dataset import Dataset


@dataclasses.dataclass
class DatasetSummary:
    """What `Dataset.summary` found.

    Args:
        dataset_schema: Arrow schema. columns: those that are described. statistics: for each, a dict by kind.
    """

    dataset_schema: pa.Schema
    columns: list[str]
    statistics: dict[str, dict[str, Any]]

    def to_pandas(self) -> Any:
        """A DataFrame: a row a kind, a column a column."""
        import pandas as pd

        kinds = list(dict.fromkeys(kind for found in self.statistics.values() for kind in found))
        rows = {name: [found.get(kind) for kind in kinds] for name, found in self.statistics.items()}
        return pd.DataFrame({"statistic": kinds, **rows})

    def get_column_stats(self, column: str) -> Any:
        """A DataFrame of one column's values, by kind.

        Raises:
            ValueError: it is not described.
        """
        if column not in self.statistics:
            raise ValueError(f"column {column!r} is not in this summary; it has {self.columns}")
        return self.to_pandas()[["statistic", column]].rename(columns={column: "value"})

    def __str__(self) -> str:
        return str(self.to_pandas())


def wanted(name: str, kind: pa.DataType) -> list[agg.AggregateFnV2]:
    """The aggregations that describe a column of a type."""
    shared: list[agg.AggregateFnV2] = [agg.Count(name), agg.MissingValuePercentage(name)]
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        more = [agg.Mean(name), agg.Min(name), agg.Max(name), agg.Std(name, ddof=0)]
        return [*shared, *more, agg.ApproximateQuantile(name, [0.5]), agg.ZeroPercentage(name)]
    if pa.types.is_temporal(kind):
        return [*shared, agg.Min(name), agg.Max(name)]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return [*shared, agg.ApproximateTopK(name, 10)]
    return shared


def summarize(ds: Dataset, names: list[str] | None, overrides: Any) -> DatasetSummary:
    """Describe columns of a dataset in one run.

    Raises:
        ValueError: a column is not there.
    """
    schema = ds.schema()
    base = pa.schema([]) if schema is None else schema.base_schema
    chosen = list(base.names) if names is None else list(names)
    missing = [name for name in chosen if name not in base.names]
    if missing:
        raise ValueError(f"summary: {unknown(missing, base.names)}")
    aggs: list[Any] = []
    for name in chosen:
        kind = base.field(name).type
        make = (overrides or {}).get(kind)
        aggs.extend(make(name) if make else wanted(name, kind))
    found = ds.aggregate(*aggs) if aggs else {}
    by_column: dict[str, dict[str, Any]] = {name: {} for name in chosen}
    for one in aggs:
        by_column[one.get_target_column()][one.name.split("(")[0]] = found[one.name]
    return DatasetSummary(base, chosen, by_column)
