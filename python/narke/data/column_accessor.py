"""One column of a block, with the reductions that aggregations of Ray's are written with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from narke.data import blocks as blk
from narke.data import columns, grouping


class BlockColumnAccessor:
    """The one face of columns: of Arrow's arrays, pandas' Series and numpy's arrays.

    Reductions give Python's value with `as_py`, else Arrow's; `ignore_nulls` False makes them null where one is.
    """

    def __init__(self, col: Any):
        self._column = pa.chunked_array([columns.one_chunk(columns.to_arrow(col))])

    @staticmethod
    def for_column(col: Any) -> BlockColumnAccessor:
        """The accessor of a column of any form."""
        return BlockColumnAccessor(col)

    def _reduced(self, name: str, ignore_nulls: bool, as_py: bool, **options: Any) -> Any:
        chosen = pc.ScalarAggregateOptions(skip_nulls=ignore_nulls, **options)
        made = pc.call_function(name, [self._column], chosen)
        return made.as_py() if as_py else made

    def count(self, *, ignore_nulls: bool, as_py: bool = True) -> Any:
        """Number of values; of all rows when nulls count."""
        made = pa.scalar(len(self._column) - (self._column.null_count if ignore_nulls else 0))
        return made.as_py() if as_py else made

    def sum(self, *, ignore_nulls: bool, as_py: bool = True) -> Any:
        """Their sum."""
        return self._reduced("sum", ignore_nulls, as_py, min_count=1)

    def min(self, *, ignore_nulls: bool, as_py: bool = True) -> Any:
        """The least."""
        return self._reduced("min", ignore_nulls, as_py)

    def max(self, *, ignore_nulls: bool, as_py: bool = True) -> Any:
        """The greatest."""
        return self._reduced("max", ignore_nulls, as_py)

    def mean(self, *, ignore_nulls: bool, as_py: bool = True) -> Any:
        """Their mean."""
        return self._reduced("mean", ignore_nulls, as_py)

    def sum_of_squared_diffs_from_mean(
        self, *, ignore_nulls: bool, mean: float | None = None, as_py: bool = True
    ) -> Any:
        """Sum of squared distances from a mean, by default from theirs."""
        centre = self.mean(ignore_nulls=ignore_nulls) if mean is None else mean
        if centre is None:
            return None if as_py else pa.scalar(None, pa.float64())
        apart = pc.subtract(pc.cast(self._column, pa.float64()), float(centre))
        return BlockColumnAccessor(pc.multiply(apart, apart)).sum(ignore_nulls=ignore_nulls, as_py=as_py)

    def quantile(self, *, q: float, ignore_nulls: bool, as_py: bool = True) -> Any:
        """The value below which the share `q` of them lies, interpolated linearly."""
        made = pc.quantile(self._column, q=q, skip_nulls=ignore_nulls)[0]
        return made.as_py() if as_py else made

    def value_counts(self) -> dict[str, list[Any]] | None:
        """{"values": [...], "counts": [...]}; None of no rows."""
        if not len(self._column):
            return None
        counted = self._column.value_counts()
        return {"values": counted.field(0).to_pylist(), "counts": counted.field(1).to_pylist()}

    def unique(self) -> pa.Array:
        """The different values."""
        return columns.one_chunk(self._column.unique())

    def hash(self) -> pa.Array:
        """A hash of 64 bits for each, the same in every process."""
        return pa.array(grouping.hash_rows(pa.table({"x": self._column}), ["x"]))

    def flatten(self) -> pa.Array:
        """The elements of lists, one after another."""
        return columns.one_chunk(pc.list_flatten(self._column))

    def dropna(self) -> pa.Array:
        """Those that are not null."""
        return columns.one_chunk(self._column.drop_null())

    def is_composed_of_lists(self) -> bool:
        """Whether they are lists."""
        kind = self._column.type
        return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)

    def to_pylist(self) -> list[Any]:
        """As Python's values."""
        return columns.to_values(self._column)

    def to_numpy(self, zero_copy_only: bool = False) -> np.ndarray:
        """As numpy's array; `zero_copy_only` refuses to copy.

        Raises:
            ValueError: it would have to be copied.
        """
        if zero_copy_only and not columns.is_plain(columns.one_chunk(self._column)):
            raise ValueError(f"a column of {self._column.type} cannot be numpy's without a copy")
        return columns.to_numpy(self._column)


def sort_keys(sort_key: Any) -> tuple[list[str], list[bool]]:
    """(columns, descending) of a name, of names, or of (name, "ascending" or "descending") pairs."""
    given = (
        [sort_key]
        if isinstance(sort_key, str)
        else list(getattr(sort_key, "get_columns", lambda: sort_key)())
    )
    pairs = [(key, "ascending") if isinstance(key, str) else tuple(key) for key in given]
    return [name for name, _ in pairs], [order == "descending" for _, order in pairs]


def merged(blocks: list[pa.Table], sort_key: Any) -> pa.Table:
    """Rows of blocks in order of keys."""
    keys, descending = sort_keys(sort_key)
    return grouping.sort(blk.concat(blocks), keys, descending)
