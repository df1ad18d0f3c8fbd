"""Aggregations: what is kept of a block, how two such are combined, and what comes out at the end.

The ones here that Arrow can compute never leave Arrow and numpy; classes of the user's own keep one Python object
per block and group.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from narke.data import columns, kernels
from narke.data.blocks import Block
from narke.data.formulas import Formula


class AggregateFn:
    """An aggregation from functions.

    Args:
        init: from a key to an empty accumulator. merge: of two accumulators.
        name: name of the resulting column.
        accumulate_row, accumulate_block: one of them; from accumulator and row (or Arrow table) to accumulator.
        finalize: from accumulator to result; the accumulator itself by default.
    """

    def __init__(
        self,
        init: Callable[[Any], Any],
        merge: Callable[[Any, Any], Any],
        name: str,
        accumulate_row: Callable[[Any, Any], Any] | None = None,
        accumulate_block: Callable[[Any, Block], Any] | None = None,
        finalize: Callable[[Any], Any] | None = None,
    ):
        if (accumulate_row is None) == (accumulate_block is None):
            raise ValueError("AggregateFn: give one of accumulate_row and accumulate_block")
        self.name, self.init, self.merge = name, init, merge
        self.accumulate_block = accumulate_block or _row_by_row(accumulate_row)
        self.finalize = finalize or (lambda accumulator: accumulator)

    def reads(self) -> list[str] | None:
        """Columns it needs; None when that is not known."""
        return None

    def output_field(self, input_schema: pa.Schema) -> pa.Field | None:
        """The resulting column, over rows of a schema; None when it is not known."""
        return None

    def start(self, block: Block, key: Any = None) -> Any:
        """The accumulator of one group's rows in one block; `key` is the group's, a tuple of several columns."""
        return self.accumulate_block(self.init(key), block)


def _row_by_row(accumulate: Any) -> Callable[[Any, Block], Any]:
    from narke.data import blocks as blk

    def over(accumulator: Any, block: Block) -> Any:
        for row in blk.iter_rows(block):
            accumulator = accumulate(accumulator, row)
        return accumulator

    return over


class AggregateFnV2(AggregateFn, abc.ABC):
    """Base of aggregations written as classes.

    Args:
        name: name of the resulting column. zero_factory: makes an empty accumulator.
        on: the column, or None. ignore_nulls: whether nulls are left out; else one null makes the result null.
    """

    def __init__(self, name: str, zero_factory: Callable[[], Any], *, on: str | None, ignore_nulls: bool):
        if not name:
            raise ValueError("an aggregation needs a name that is not empty")
        self.name, self._on, self._ignore_nulls = name, on, ignore_nulls
        self._target_col_name = on  # as classes of Ray programs call it
        self.init = lambda key: zero_factory()
        self.merge = self._merge_nullable

    @abc.abstractmethod
    def aggregate_block(self, block: Block) -> Any:
        """The accumulator of a block's rows; None when there is nothing in it."""

    @abc.abstractmethod
    def combine(self, current_accumulator: Any, new: Any) -> Any:
        """The accumulator of both."""

    def finalize(self, accumulator: Any) -> Any:  # type: ignore[override]
        """The result."""
        return accumulator

    def get_target_column(self) -> str | None:
        """The column it reads."""
        return self._on

    def get_agg_name(self) -> str:
        """The name of the resulting column."""
        return self.name

    def reads(self) -> list[str] | None:
        return [] if self._on is None else [self._on]

    def start(self, block: Block, key: Any = None) -> Any:
        begun = self.aggregate_block(block)
        return None if begun is None else self._merge_nullable(self.init(key), begun)

    def _merge_nullable(self, current: Any, new: Any) -> Any:
        if new is None:
            return current if self._ignore_nulls else None
        if current is None:
            return new if self._ignore_nulls else None
        return self.combine(current, new)


class Fast(AggregateFnV2):
    """Base of aggregations that never leave Arrow and numpy: what is kept of a block, and what that makes."""

    def aggregate_block(self, block: Block) -> Any:
        raise NotImplementedError(f"{type(self).__name__} works on all groups of a block; see partial()")

    def combine(self, current_accumulator: Any, new: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} works on all groups of a block; see final()")

    @abc.abstractmethod
    def partial(self, column: Any, groups: Groups) -> dict[str, Any]:
        """What is kept of a block's column: by name, a value per group."""

    @abc.abstractmethod
    def final(self, parts: dict[str, Any], groups: Groups) -> pa.Array:
        """The result per group, from what was kept of all blocks."""

    def output_field(self, input_schema: pa.Schema) -> pa.Field | None:
        if self._on is not None and self._on not in input_schema.names:
            return None
        rows = pa.table({"": pa.nulls(0)}) if self._on is None else input_schema.empty_table()
        nothing = Groups(np.zeros(0, np.uint32), 0, 0)
        column = None if self._on is None else columns.one_chunk(rows.column(self._on))
        parts = {name: columns.to_arrow(part) for name, part in self.partial(column, nothing).items()}
        return pa.field(self.name, self.final(parts, nothing).type, not isinstance(self, Count))


class Groups:
    """Which group each of `rows` rows belongs to, and reductions by it.

    Args:
        ids: numbers below `count`, of 32 bits; None when all rows are one group.
    """

    def __init__(self, ids: np.ndarray | None, count: int, rows: int):
        self.ids, self.count, self.rows = ids, count, rows
        self._sizes: np.ndarray | None = None
        self._made: dict[Any, tuple[Any, pa.Array]] = {}

    def sizes(self) -> np.ndarray:
        """Rows of each group."""
        if self._sizes is None:
            self._sizes = np.array([self.rows])
            if self.ids is not None:
                self._sizes = np.bincount(self.ids, minlength=self.count)
        return self._sizes

    def valid(self, column: Any) -> np.ndarray:
        """Rows of each group that are not null."""
        if self.ids is None:
            return np.array([len(column) - column.null_count])
        if not column.null_count:
            return self.sizes()
        return np.bincount(self.ids[np.asarray(column.is_valid())], minlength=self.count)

    def sum(self, column: Any, skip_nulls: bool = True) -> pa.Array:
        """Sums; null where there is nothing to add, or a null that is not to be skipped."""
        return self._reduced("sum", column, skip_nulls)

    def extreme(self, column: Any, greatest: bool, skip_nulls: bool = True) -> pa.Array:
        """Least or greatest values."""
        return self._reduced("max" if greatest else "min", column, skip_nulls)

    def _reduced(self, what: str, column: Any, skip_nulls: bool) -> pa.Array:
        key = (what, id(column), skip_nulls)
        if key not in self._made:
            self._made[key] = (column, self._reduce(what, column, skip_nulls))
        return self._made[key][1]

    def _reduce(self, what: str, column: Any, skip_nulls: bool) -> pa.Array:
        if isinstance(column, Formula):
            return column.sum()
        options = pc.ScalarAggregateOptions(skip_nulls=skip_nulls, min_count=1)
        if self.ids is None:
            return reduce_all(column, what, options)
        whole = columns.one_chunk(column)
        made = kernels.reduce(what, self.ids, whole, self.count)
        if made is None:
            return self._by_arrow(what, whole, options)
        values, counts = made
        if not whole.null_count:
            self._sizes = counts
        empty = counts == 0 if skip_nulls else counts < self.sizes()
        plain = pa.array(values, mask=empty) if empty.any() else columns.to_arrow(values)
        return plain if what == "sum" else _as_type(plain, whole.type)

    def _by_arrow(self, what: str, column: Any, options: Any) -> pa.Array:
        table = pa.table({"g": columns.to_arrow(self.ids), "v": column})
        made = table.group_by("g", use_threads=False).aggregate([("v", what, options)])
        order = np.argsort(np.asarray(made.column("g")))
        return columns.one_chunk(made.column(f"v_{what}")).take(pa.array(order))

    def moments(self, column: Any) -> tuple[np.ndarray, np.ndarray]:
        """Means, and sums of squared distances from them; nulls are left out."""
        whole = columns.one_chunk(column)
        ids = np.zeros(len(whole), np.uint32) if self.ids is None else self.ids
        made = kernels.reduce("moments", ids, whole, self.count)
        if made is None:
            made = kernels.reduce("moments", ids, whole.cast(pa.float64()), self.count)
            assert made is not None
        return made[0], made[1]

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums of plain numbers per group."""
        if self.ids is None:
            return np.array([values.sum()])
        return np.bincount(self.ids, weights=values, minlength=self.count)


def _as_type(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Numbers (64 bits) as the type that they were taken from."""
    if not pa.types.is_temporal(kind):
        return values.cast(kind)
    return values.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).view(kind)


def reduce_all(column: Any, function: str, options: Any = None) -> pa.Array:
    """Arrow's `function` over a whole column, as a column of one value."""
    return pa.repeat(pc.call_function(function, [column], options), 1)


def _title(kind: str, on: str | None, alias: str | None) -> str:
    return alias or f"{kind}({on or ''})"


class Count(Fast):
    """Number of rows, or of values in a column (`ignore_nulls` leaves out nulls)."""

    def __init__(self, on: str | None = None, ignore_nulls: bool = False, alias_name: str | None = None):
        super().__init__(_title("count", on, alias_name), lambda: 0, on=on, ignore_nulls=ignore_nulls)

    def partial(self, column: Any, groups: Groups) -> dict[str, Any]:
        counted = groups.valid(column) if self._ignore_nulls and self._on else groups.sizes()
        return {"n": columns.to_arrow(counted)}

    def final(self, parts: dict[str, Any], groups: Groups) -> pa.Array:
        return groups.sum(parts["n"])


class _Simple(Fast):
    """One that is its own combination."""

    kind = ""

    def __init__(
        self,
        on: str | None = None,
        ignore_nulls: bool = True,
        alias_name: str | None = None,
        zero_factory: Callable[[], Any] = lambda: None,
    ):
        super().__init__(_title(self.kind, on, alias_name), zero_factory, on=on, ignore_nulls=ignore_nulls)

    def partial(self, column: Any, groups: Groups) -> dict[str, Any]:
        return {"v": groups._reduced(self.kind, column, self._ignore_nulls)}

    def final(self, parts: dict[str, Any], groups: Groups) -> pa.Array:
        return groups._reduced(self.kind, parts["v"], self._ignore_nulls)


class Sum(_Simple):
    """Sum of a column."""

    kind = "sum"


class Min(_Simple):
    """Least value of a column."""

    kind = "min"


class Max(_Simple):
    """Greatest value of a column."""

    kind = "max"


class Mean(Fast):
    """Arithmetic mean of a column."""

    def __init__(self, on: str | None = None, ignore_nulls: bool = True, alias_name: str | None = None):
        super().__init__(_title("mean", on, alias_name), lambda: None, on=on, ignore_nulls=ignore_nulls)

    def partial(self, column: Any, groups: Groups) -> dict[str, Any]:
        total = groups.sum(column, self._ignore_nulls)
        return {"s": total, "n": columns.to_arrow(groups.valid(column))}

    def final(self, parts: dict[str, Any], groups: Groups) -> pa.Array:
        total = groups.sum(parts["s"], self._ignore_nulls).cast(pa.float64())
        count = groups.sum(parts["n"]).cast(pa.float64())
        return pc.divide(total, pc.if_else(pc.equal(count, 0.0), None, count))


class Std(Fast):
    """Standard deviation of a column, with `ddof` degrees of freedom taken off; 0 of a single value with ddof 1 is NaN.

    Blocks keep count, mean and squared distances, which combine without the cancellation that sums of squares suffer.
    """

    def __init__(
        self, on: str | None = None, ddof: int = 1, ignore_nulls: bool = True, alias_name: str | None = None
    ):
        super().__init__(_title("std", on, alias_name), lambda: None, on=on, ignore_nulls=ignore_nulls)
        self._ddof = ddof

    def partial(self, column: Any, groups: Groups) -> dict[str, Any]:
        means, squares = groups.moments(column)
        count = groups.valid(column)
        spoiled = np.zeros(len(count), bool) if self._ignore_nulls else count < groups.sizes()
        made = {"m": pa.array(means, mask=spoiled), "s": columns.to_arrow(squares)}
        return {"n": columns.to_arrow(count), **made}

    def final(self, parts: dict[str, Any], groups: Groups) -> pa.Array:
        count, mean, squares = (_floats(parts[name]) for name in "nms")
        spoiled = groups.sums(np.isnan(mean) & np.asarray(parts["m"].is_null())) > 0
        mean = np.where(np.asarray(parts["m"].is_null()), 0.0, mean)
        total = groups.sums(count)
        with np.errstate(divide="ignore", invalid="ignore"):
            centre = groups.sums(count * mean) / total
            each = centre[np.zeros(len(count), int) if groups.ids is None else groups.ids]
            result = np.sqrt(groups.sums(squares + count * (mean - each) ** 2) / (total - self._ddof))
        result[total <= self._ddof] = np.nan
        return pa.array(result, mask=(total == 0) | spoiled)


def _floats(part: Any) -> np.ndarray:
    return np.asarray(columns.one_chunk(part).cast(pa.float64()).to_numpy(zero_copy_only=False))


class AbsMax(AggregateFnV2):
    """Greatest absolute value of a column."""

    def __init__(
        self,
        on: str | None = None,
        ignore_nulls: bool = True,
        alias_name: str | None = None,
        zero_factory: Callable[[], Any] = lambda: 0,
    ):
        super().__init__(_title("abs_max", on, alias_name), zero_factory, on=on, ignore_nulls=ignore_nulls)

    def output_field(self, input_schema: pa.Schema) -> pa.Field | None:
        known = self._on in input_schema.names
        return pa.field(self.name, input_schema.field(self._on).type) if known else None

    def aggregate_block(self, block: Block) -> Any:
        column = block.column(self._on)
        return None if not self._ignore_nulls and column.null_count else pc.max(pc.abs(column)).as_py()

    def combine(self, current_accumulator: Any, new: Any) -> Any:
        return max(current_accumulator, new)


class AsList(AggregateFnV2):
    """All values of a column, as a list."""

    def __init__(self, on: str, alias_name: str | None = None, ignore_nulls: bool = False):
        super().__init__(_title("list", on, alias_name), list, on=on, ignore_nulls=ignore_nulls)

    def aggregate_block(self, block: Block) -> Any:
        column = block.column(self._on)
        return columns.to_values(column.drop_null() if self._ignore_nulls else column)

    def combine(self, current_accumulator: Any, new: Any) -> Any:
        return current_accumulator + new


class Unique(AggregateFnV2):
    """The different values of a column, as a list."""

    def __init__(
        self,
        on: str | None = None,
        ignore_nulls: bool = False,
        alias_name: str | None = None,
        encode_lists: bool | None = None,
    ):
        super().__init__(_title("unique", on, alias_name), list, on=on, ignore_nulls=ignore_nulls)
        self._encode_lists = encode_lists

    def aggregate_block(self, block: Block) -> Any:
        column = block.column(self._on)
        if self._encode_lists and _is_list(column.type):
            column = pc.list_flatten(column)
        elif _is_list(column.type):
            return list(
                dict.fromkeys(_hashable(v) for v in column.to_pylist() if v or not self._ignore_nulls)
            )
        found = column.unique()
        return (found.drop_null() if self._ignore_nulls else found).to_pylist()

    def combine(self, current_accumulator: Any, new: Any) -> Any:
        return list(dict.fromkeys([*current_accumulator, *new]))


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


class CountDistinct(Unique):
    """How many different values a column has."""

    def __init__(self, on: str, ignore_nulls: bool = True, alias_name: str | None = None):
        super().__init__(on, ignore_nulls, alias_name or f"count_distinct({on})")

    def finalize(self, accumulator: Any) -> Any:  # type: ignore[override]
        return len(accumulator)


class Quantile(AsList):
    """The value below which the share `q` of a column's values lies, interpolated linearly. Keeps all values."""

    def __init__(
        self, on: str | None = None, q: float = 0.5, ignore_nulls: bool = True, alias_name: str | None = None
    ):
        if on is None:
            raise ValueError("Quantile: name the column with on=")
        super().__init__(on, alias_name or f"quantile({on})", ignore_nulls)
        self._q = q

    def finalize(self, accumulator: Any) -> Any:  # type: ignore[override]
        if not accumulator or any(value is None for value in accumulator):
            return None
        return float(np.quantile(np.asarray(accumulator, dtype=float), self._q))


class ApproximateQuantile(AsList):
    """Several quantiles of a column, as a list. They are exact here; all values are kept.

    Args:
        quantiles: shares from 0 to 1. quantile_precision: accepted for Ray's programs.
    """

    def __init__(
        self,
        on: str,
        quantiles: list[float],
        quantile_precision: int = 800,
        alias_name: str | None = None,
    ):
        super().__init__(on, alias_name or f"approx_quantile({on})", True)
        self._quantiles = list(quantiles)

    def finalize(self, accumulator: Any) -> Any:  # type: ignore[override]
        if not accumulator:
            return None
        return np.quantile(np.asarray(accumulator, dtype=float), self._quantiles).tolist()


class ValueCounter(AggregateFnV2):
    """How often each value of a column, null among them, appears: {"values": [...], "counts": [...]}."""

    def __init__(self, on: str, alias_name: str | None = None):
        super().__init__(_title("value_counter", on, alias_name), dict, on=on, ignore_nulls=True)

    def aggregate_block(self, block: Block) -> Any:
        counted = block.column(self._on).value_counts()
        pairs = zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True)
        return {_hashable(value): count for value, count in pairs}

    def combine(self, current_accumulator: Any, new_accumulator: Any) -> Any:
        whole = dict(current_accumulator)
        for value, count in new_accumulator.items():
            whole[value] = whole.get(value, 0) + count
        return whole

    def finalize(self, accumulator: Any) -> Any:  # type: ignore[override]
        return {"values": list(accumulator), "counts": list(accumulator.values())}


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class ApproximateTopK(ValueCounter):
    """The k most frequent values of a column: [{column: value, "count": n}, ...]. Counts are exact here.

    Args:
        k: how many. encode_lists: count the elements of lists. log_capacity: accepted for Ray's programs.
    """

    def __init__(
        self,
        on: str,
        k: int,
        log_capacity: int = 15,
        alias_name: str | None = None,
        encode_lists: bool = False,
    ):
        super().__init__(on, alias_name or f"approx_topk({on})")
        self._k, self._encode_lists = k, encode_lists

    def aggregate_block(self, block: Block) -> Any:
        if self._encode_lists:
            block = pa.table({self._on: pc.list_flatten(block.column(self._on))})
        return super().aggregate_block(block)

    def finalize(self, accumulator: Any) -> Any:  # type: ignore[override]
        ranked = sorted(accumulator.items(), key=lambda pair: -pair[1])
        known = [(value, count) for value, count in ranked if value is not None]
        return [{self._on: value, "count": count} for value, count in known[: self._k]]


class _Percentage(AggregateFnV2):
    """The share of rows for which something holds, from 0 to 100."""

    def holds(self, column: Any) -> Any:
        """For how many rows of a column it holds."""
        raise NotImplementedError

    def aggregate_block(self, block: Block) -> Any:
        column = block.column(self._on)
        rows = len(column) - (column.null_count if self._ignore_nulls else 0)
        return [self.holds(column), rows]

    def combine(self, current_accumulator: Any, new: Any) -> Any:
        return [current_accumulator[0] + new[0], current_accumulator[1] + new[1]]

    def finalize(self, accumulator: Any) -> Any:  # type: ignore[override]
        return accumulator[0] / accumulator[1] * 100 if accumulator[1] else None


class MissingValuePercentage(_Percentage):
    """The share of values that are null or NaN, from 0 to 100."""

    def __init__(self, on: str, alias_name: str | None = None):
        super().__init__(_title("missing_pct", on, alias_name), lambda: [0, 0], on=on, ignore_nulls=False)

    def holds(self, column: Any) -> Any:
        return pc.sum(pc.is_null(column, nan_is_null=True)).as_py() or 0


class ZeroPercentage(_Percentage):
    """The share of values that are 0, from 0 to 100; nulls are left out of the rows when `ignore_nulls`."""

    def __init__(self, on: str, ignore_nulls: bool = True, alias_name: str | None = None):
        super().__init__(_title("zero_pct", on, alias_name), lambda: [0, 0], on=on, ignore_nulls=ignore_nulls)

    def holds(self, column: Any) -> Any:
        return pc.sum(pc.equal(column, 0)).as_py() or 0


VectorizedAggregateFnV2 = AggregateFnV2
