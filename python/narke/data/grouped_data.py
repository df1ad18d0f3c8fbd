"""Rows in groups: aggregations of groups, and functions over whole groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from narke.data import aggregate as agg
from narke.data import blocks as blk
from narke.data import exchange, partials
from narke.data.plan import Gather, Map
from narke.data.projection import Project
from narke.data.transforms import Step

if TYPE_CHECKING:
    from narke.data.dataset import Dataset


class GroupedData:
    """A dataset whose rows are grouped by columns; made by `Dataset.groupby`."""

    def __init__(self, dataset: Dataset, key: str | list[str] | None, *, num_partitions: int | None):
        self._dataset = dataset
        self.keys = _names(key)
        self._key = key
        self._num_partitions = num_partitions

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dataset={self._dataset!r}, key={self._key!r})"

    def aggregate(self, *aggs: agg.AggregateFn) -> Dataset:
        """One row a group, in order of the keys: the keys, and the result of each aggregation.

        Raises:
            ValueError: none is given.
        """
        if not aggs:
            raise ValueError("aggregate: give at least one aggregation")
        chosen = list(aggs)
        mapped = partial_plan(self._dataset, self.keys, chosen)
        planner = exchange.Aggregate(self.keys, chosen, self._num_partitions)
        return self._dataset._derived(Gather((mapped,), planner))

    def _each(self, kind: Any, on: str | list[str] | None, *args: Any) -> Dataset:
        names = [on] if isinstance(on, str) else on
        if names is None:
            names = [n for n in self._dataset.columns() or [] if n not in self.keys]
        return self.aggregate(*(kind(name, *args) for name in names))

    def count(self) -> Dataset:
        """Rows of each group, in column "count()"."""
        return self.aggregate(agg.Count())

    def sum(self, on: str | list[str] | None = None, ignore_nulls: bool = True) -> Dataset:
        """Sums of columns (by default all but the keys), in columns "sum(x)"."""
        return self._each(agg.Sum, on, ignore_nulls)

    def min(self, on: str | list[str] | None = None, ignore_nulls: bool = True) -> Dataset:
        """Least values of columns, in columns "min(x)"."""
        return self._each(agg.Min, on, ignore_nulls)

    def max(self, on: str | list[str] | None = None, ignore_nulls: bool = True) -> Dataset:
        """Greatest values of columns, in columns "max(x)"."""
        return self._each(agg.Max, on, ignore_nulls)

    def mean(self, on: str | list[str] | None = None, ignore_nulls: bool = True) -> Dataset:
        """Means of columns, in columns "mean(x)"."""
        return self._each(agg.Mean, on, ignore_nulls)

    def std(self, on: str | list[str] | None = None, ddof: int = 1, ignore_nulls: bool = True) -> Dataset:
        """Standard deviations of columns, in columns "std(x)"."""
        return self._each(agg.Std, on, ddof, ignore_nulls)

    def map_groups(
        self, fn: Any, *, zero_copy_batch: bool = True, batch_format: str | None = "default", **options: Any
    ) -> Dataset:
        """Apply a function to each group as one batch.

        Args:
            fn: function or class; see `Dataset.map_batches`, whose options these are too.
            batch_format: as in `Dataset.map_batches`, but that a group is a DataFrame by default.
        """
        blk.check_format(batch_format)
        batch_format = "pandas" if batch_format == "default" else batch_format
        whole = self._dataset._derived(Gather((self._dataset._plan,), self._partitioner()))
        kind = "groups" if zero_copy_batch else "owned_groups"
        return whole._mapped(kind, fn, False, options, batch_format=batch_format, keys=tuple(self.keys))

    def with_column(self, column_name: str, expr: Any, **options: Any) -> Dataset:
        """Add (or replace) a column by an expression, computed over each group."""

        def add(table: Any) -> Any:
            return blk.upsert(table, column_name, expr.evaluate(table))

        return self.map_groups(add, batch_format="pyarrow", **options)

    def _partitioner(self) -> Any:
        if not self.keys:
            return exchange.Repartition(1)
        return exchange.HashPartition(self.keys, self._num_partitions, sort=True)


def _names(key: Any) -> list[str]:
    """Columns to group by.

    Raises:
        ValueError: there is something else among them than names.
    """
    keys = [] if key is None else [key] if isinstance(key, str) or callable(key) else list(key)
    if not all(isinstance(each, str) for each in keys):
        raise ValueError(f"groupby: give names of columns, not {key!r}")
    return keys


class _Needed(Project):
    """The columns that aggregations need; where there are no rows, no column is missed."""

    def __call__(self, block: Any) -> Any:
        return super().__call__(block) if block.num_rows else pa.table({})


def partial_plan(dataset: Dataset, keys: list[str], aggs: list[agg.AggregateFn]) -> Map:
    """The dataset's plan, then what aggregations keep of each block; only the columns they need are read."""
    step = Step("block", partials.Partial(keys, aggs))
    wanted: list[str] = list(keys)
    for one in aggs:
        names = one.reads()
        if names is None:
            return Map((dataset._plan,), (step,))
        wanted.extend(n for n in names if n not in wanted)
    if not wanted:
        return Map((dataset._plan,), (step,))
    pairs = tuple((name, name) for name in wanted)
    chosen = Map((dataset._plan,), (Step("block", _Needed(pairs, error=ValueError)),), projection=pairs)
    return Map((chosen,), (step,))


GroupedDataset = GroupedData
