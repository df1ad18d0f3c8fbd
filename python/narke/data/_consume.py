"""Consumption of datasets: running them, for rows, frames, counts and aggregates."""

from __future__ import annotations

import itertools
from typing import Any

import narke
from narke.data import aggregate as agg
from narke.data import blocks as blk
from narke.data import columns, partials
from narke.data.execute import tasks
from narke.data.grouped_data import partial_plan
from narke.data.iterator import DataIterator, Iterating, fetched
from narke.data.plan import Node, known_rows

DEFAULT_TAKE = 20


class Consuming(Iterating):
    """The part of `Dataset` that runs it."""

    _plan: Node

    def iterator(self) -> DataIterator:
        """A `DataIterator` over it."""
        return DataIterator(self)

    def take(self, limit: int = DEFAULT_TAKE) -> list[dict[str, Any]]:
        """The first rows, as dicts."""
        return list(itertools.islice(self.limit(limit).iter_rows(), limit))  # type: ignore[attr-defined]

    def take_all(self, limit: int | None = None) -> list[dict[str, Any]]:
        """All rows, as dicts.

        Args:
            limit: rows above which it is an error.

        Raises:
            ValueError: there are more than `limit`.
        """
        rows = []
        for row in self.iter_rows():
            rows.append(row)
            if limit is not None and len(rows) > limit:
                raise ValueError(
                    f"the dataset has more than the {limit} rows that take_all was told to expect"
                )
        return rows

    def take_batch(self, batch_size: int = DEFAULT_TAKE, *, batch_format: str | None = "default") -> Any:
        """The first rows as one batch.

        Raises:
            ValueError: there are no rows.
        """
        first = self.limit(batch_size)  # type: ignore[attr-defined]
        for batch in first.iter_batches(batch_size=batch_size, batch_format=batch_format, prefetch_batches=0):
            return batch
        raise ValueError("the dataset has no rows to take a batch of")

    def show(self, limit: int = DEFAULT_TAKE) -> None:
        """Print the first rows."""
        for row in self.take(limit):
            print(row)

    def count(self) -> int:
        """Number of rows; without running where a source knows it."""
        known = known_rows(self._plan)
        if known is not None:
            return known
        return int(self._aggregated([agg.Count()])["count()"])

    def size_bytes(self) -> int:
        """Bytes of all blocks."""
        return sum(bundle.size_bytes for bundle in self._bundles())

    def aggregate(self, *aggs: agg.AggregateFn) -> Any:
        """Aggregations over all rows.

        Returns:
            dict from the aggregations' names to results.
        """
        if not aggs:
            raise ValueError("aggregate: give at least one aggregation")
        return self._aggregated(list(aggs))

    def _aggregated(self, aggs: list[agg.AggregateFn]) -> dict[str, Any]:
        plan = partial_plan(self, [], aggs)  # type: ignore[arg-type]
        tables = list(fetched(self._bundles(plan)))  # type: ignore[call-arg]
        result = partials.finish(tables, [], aggs)
        return {name: columns.to_values(result.column(name))[0] for name in result.column_names}

    def _each(self, kind: Any, on: str | list[str] | None, *args: Any) -> Any:
        names = [on] if isinstance(on, str) else on
        if names is None:
            names = self.columns() or []  # type: ignore[attr-defined]
        if not names:
            return None
        result = self._aggregated([kind(name, *args) for name in names])
        return next(iter(result.values())) if len(result) == 1 else result

    def sum(self, on: str | list[str] | None = None, ignore_nulls: bool = True) -> Any:
        """Sum of a column; of several (by default all), a dict by name such as "sum(x)"."""
        return self._each(agg.Sum, on, ignore_nulls)

    def min(self, on: str | list[str] | None = None, ignore_nulls: bool = True) -> Any:
        """Least value of a column; of several (by default all), a dict by name."""
        return self._each(agg.Min, on, ignore_nulls)

    def max(self, on: str | list[str] | None = None, ignore_nulls: bool = True) -> Any:
        """Greatest value of a column; of several (by default all), a dict by name."""
        return self._each(agg.Max, on, ignore_nulls)

    def mean(self, on: str | list[str] | None = None, ignore_nulls: bool = True) -> Any:
        """Mean of a column; of several (by default all), a dict by name."""
        return self._each(agg.Mean, on, ignore_nulls)

    def std(self, on: str | list[str] | None = None, ddof: int = 1, ignore_nulls: bool = True) -> Any:
        """Standard deviation of a column; of several (by default all), a dict by name."""
        return self._each(agg.Std, on, ddof, ignore_nulls)

    def unique(self, column: str, ignore_nulls: bool = False) -> list[Any]:
        """The different values of a column."""
        return next(iter(self._aggregated([agg.Unique(column, ignore_nulls)]).values())) or []

    def to_pandas(self, limit: int | None = None) -> Any:
        """All rows as one DataFrame.

        Args:
            limit: rows above which it is an error.

        Raises:
            ValueError: there are more than `limit`.
        """
        tables, rows, first = [], 0, None
        for bundle in self._bundles():
            first = first or bundle
            rows += bundle.rows
            if limit is not None and rows > limit:
                raise ValueError(
                    f"the dataset has more than the limit of {limit} rows: use limit() before to_pandas()"
                )
            if bundle.rows:
                tables.append(narke.get(bundle.ref))
        if not tables and first is not None:
            tables = [narke.get(first.ref)]
        return blk.to_pandas(blk.concat(tables))

    def get_internal_block_refs(self) -> list[Any]:
        """References to its blocks."""
        return [bundle.ref for bundle in self._bundles()]

    def to_arrow_refs(self) -> list[Any]:
        """References to its blocks, which are Arrow tables."""
        return self.get_internal_block_refs()

    def to_pandas_refs(self) -> list[Any]:
        """References to a DataFrame for each block."""
        run = tasks.remote(blk.to_pandas, {"num_returns": 1})
        return [run.remote(ref) for ref in self.get_internal_block_refs()]

    def to_numpy_refs(self, *, column: str | None = None) -> list[Any]:
        """References, for each block, to a dict of arrays, or to the array of one column."""
        run = tasks.remote(tasks.as_arrays, {"num_returns": 1})
        return [run.remote(ref, column) for ref in self.get_internal_block_refs()]
