"""Joins of blocks with a table that is small enough to be whole in one task: by position where keys allow, not by hash.

Keys become numbers: whole numbers that lie close together by subtraction, others by a table of buckets, everything else
by Arrow's `index_in`. A table from number to row then finds the partners of a block in one pass. What this has no form
for (keys of floating-point numbers or nested types, outer joins of the right side, names on both sides) is left to
Arrow's own join.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import narke
from narke import _native
from narke.data import blocks as blk
from narke.data import columns
from narke.data.blocks import Block
from narke.data.lazy import LazyBlock, Rows, of_table, unread
from narke.data.near_names import unknown

# Those that need not see all of the left side at once.
ONE_SIDED = ("inner", "left outer", "left semi", "left anti")
NOWHERE = -1
LEAST_SPAN = 1 << 22
SPAN = 8  # times as many places as rows that a table from number to row may have
MOST_NUMBERS = 1 << 62
# 2**64 over the golden ratio: multiplying by it spreads numbers over buckets.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a join goes by.

    Args:
        how: Arrow's name of the join. keys, right_keys: columns that must be equal. suffixes: for names on both sides.
    """

    how: str
    keys: tuple[str, ...]
    right_keys: tuple[str, ...]
    suffixes: tuple[str | None, str | None]

    def by_arrow(self, left: Block, right: Block) -> Block:
        """Arrow's join of two tables.

        Raises:
            KeyError: a key is not there. ValueError: a name stands on both sides, and there is no suffix.
        """
        self._check(left.column_names, right.column_names)
        suffix = {"left_suffix": self.suffixes[0], "right_suffix": self.suffixes[1]}
        keys, right_keys = list(self.keys), list(self.right_keys)
        return left.join(right, keys, right_keys, join_type=self.how, use_threads=False, **suffix)

    def _check(self, left: list[str], right: list[str]) -> None:
        for keys, names in ((self.keys, left), (self.right_keys, right)):
            missing = [key for key in keys if key not in names]
            if missing:
                raise KeyError(f"cannot join: {unknown(missing, names)}")
        both = sorted(set(left) & (set(right) - set(self.right_keys)))
        one_side = self.how.endswith(("semi", "anti"))
        if both and not one_side and self.suffixes == (None, None):
            raise ValueError(f"join: columns {both} stand on both sides: give left_suffix or right_suffix")

    def fit(self, left: Any, right: Block) -> bool:
        """Whether two blocks can be joined here, and not only by Arrow."""
        added = set(right.column_names) - set(self.right_keys) if self.how in ONE_SIDED[:2] else set()
        if self.how not in ONE_SIDED or added & set(left.column_names):
            return False
        known = set(self.keys) <= set(left.column_names) and set(self.right_keys) <= set(right.column_names)
        return known and all(has_numbers(right.schema.field(key).type) for key in self.right_keys)


class JoinWith:
    """A step over a task's blocks: joins each with all rows of the right side.

    Args:
        terms: of the join, one of `ONE_SIDED`. refs: the right side's blocks. names: of its columns.
    """

    __name__ = "Join"
    takes_lazy = True

    def __init__(self, terms: Terms, refs: list[Any], names: list[str]):
        self._terms, self._refs, self._names = terms, refs, names

    def needs(self, later: set[str] | None) -> set[str] | None:
        """See `Project.needs`."""
        if later is None or any(self._terms.suffixes):
            return None
        return (later - set(self._names)) | set(self._terms.keys)

    @property
    def touches(self) -> set[str]:
        """Columns whose values it looks at, or that it may add."""
        return {*self._terms.keys, *self._names}

    def __call__(self, index: int, blocks: Iterable[Any]) -> Iterator[Any]:
        return join_each(self._terms, blocks, blk.concat(narke.get(self._refs)))


def join_each(terms: Terms, blocks: Iterable[Any], right: Block) -> Iterator[Any]:
    """Blocks, each joined with a table; columns of unread ones stay unread."""
    right = blk.whole(right)
    rest = right.drop_columns([key for key in dict.fromkeys(terms.right_keys) if key in right.column_names])
    partners: Partners | None = None
    for block in unread(blocks):
        made = None
        if terms.fit(block, right):
            partners = partners or Partners(right, terms.right_keys)
            made = _joined(terms, block, rest, partners)
        yield terms.by_arrow(block.table(), right) if made is None else made


def has_numbers(kind: pa.DataType) -> bool:
    """Whether keys of a type can be told apart by numbers here."""
    return _is_whole(kind) or kind in (pa.string(), pa.large_string(), pa.binary(), pa.bool_(), pa.uint64())


def _is_whole(kind: pa.DataType) -> bool:
    """Whether its values are whole numbers that fit 64 bits with a sign."""
    if pa.types.is_integer(kind):
        return kind != pa.uint64()
    return pa.types.is_date(kind) or pa.types.is_timestamp(kind)


def _joined(terms: Terms, left: LazyBlock, right: Block, partners: Partners) -> LazyBlock | None:
    """A block joined with a table without its keys; None when types of keys differ."""
    codes = partners.codes([columns.one_chunk(left.column(key)) for key in terms.keys])
    if codes is None:
        return None
    if terms.how in ("left semi", "left anti"):
        return left.kept(pa.array(partners.has(codes) == (terms.how == "left semi")))
    lone = terms.how == "left outer"
    own, other = partners.pairs(codes, lone)
    chosen = left if own is None else left.chosen(Rows(own.astype(np.uint32)))
    if not lone:
        return chosen.beside(of_table(right).chosen(Rows(other.astype(np.uint32))).shared())
    rows = pa.array(other, mask=other == NOWHERE)
    return chosen.beside({n: columns.one_chunk(right.column(n)).take(rows) for n in right.column_names})


class Partners:
    """Which rows of a table have given keys. Rows with a null among their keys have no partners."""

    def __init__(self, table: Block, keys: Iterable[str]):
        parts = [columns.one_chunk(table.column(key)) for key in keys]
        self._numbers = [_numbers_for(part) for part in parts]
        self._all: Any = None
        codes = [numbers.of(part) for numbers, part in zip(self._numbers, parts, strict=True)]
        whole = self._combined(codes)
        if len(parts) > 1 and whole is not None:
            self._all = _numbers_for(whole)
            whole = self._all.of(whole)
        self._fits = whole is not None
        if whole is not None:
            self._index(whole, (self._all or self._numbers[0]).count)

    def _combined(self, codes: list[np.ndarray]) -> Any:
        """One number for those of several keys, null where one has none; None when there are too many."""
        if len(codes) == 1:
            return codes[0]
        made, count = codes[0].astype(np.int64), self._numbers[0].count
        lost = made == count
        for code, numbers in zip(codes[1:], self._numbers[1:], strict=True):
            made = made * numbers.count + code
            lost |= code == numbers.count
            count *= max(1, numbers.count)
        return None if count > MOST_NUMBERS else pa.array(made, mask=lost)

    def _index(self, codes: np.ndarray, count: int) -> None:
        """Where rows of each number are; the last place is for what has no number."""
        order = np.flatnonzero(codes != count).astype(np.int32)
        if len(order) < len(codes):
            codes = codes[order]
        self._first = np.full(count + 1, NOWHERE, np.int32)
        self._first[codes] = order
        self._sizes: np.ndarray | None = None
        if (self._first[codes] == order).all():  # no number twice
            return
        self._rows = order[np.argsort(codes, kind="stable")]
        self._sizes = np.bincount(codes, minlength=count + 1)
        starts = np.cumsum(self._sizes) - self._sizes
        self._first = np.where(self._sizes > 0, starts, NOWHERE).astype(np.int32)

    def codes(self, parts: list[pa.Array]) -> np.ndarray | None:
        """Numbers of rows with these keys, for the methods below; None when types of keys differ from the table's."""
        alike = all(part.type == numbers.kind for part, numbers in zip(parts, self._numbers, strict=True))
        if not alike or not self._fits:
            return None
        whole = self._combined([n.of(part) for n, part in zip(self._numbers, parts, strict=True)])
        return whole if self._all is None else self._all.of(whole)

    def has(self, codes: np.ndarray) -> np.ndarray:
        """Whether each has a partner."""
        return self._first[codes] != NOWHERE

    def pairs(self, codes: np.ndarray, with_lone: bool) -> tuple[np.ndarray | None, np.ndarray]:
        """(rows that were asked for, rows of the table) that belong together.

        Args:
            with_lone: rows without a partner stand once, beside `NOWHERE`.

        Returns: None for the first means all of them, each once.
        """
        found = self._first[codes]
        if self._sizes is None:
            if with_lone or (found != NOWHERE).all():
                return None, found
            own = np.flatnonzero(found != NOWHERE)
            return own, found[own]
        counts = self._sizes[codes]
        counts = np.maximum(counts, 1) if with_lone else counts
        own = np.repeat(np.arange(len(found)), counts)
        within = np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)
        start = found[own]
        return own, np.where(start == NOWHERE, NOWHERE, self._rows[np.maximum(start, 0) + within])


class _Span:
    """Numbers of whole numbers that lie close together: how far each is from the least."""

    def __init__(self, kind: pa.DataType, least: int, count: int):
        self.kind, self._least, self.count = kind, least, count

    def of(self, column: Any) -> np.ndarray:
        """The number of each value; `count` for those that are not known."""
        values = _whole_numbers(column)
        if values.null_count:
            below = self._least > -(2**63)
            values = values.fill_null(self._least - 1 if below else self._least + self.count)
        far = columns.to_numpy(values) - np.int64(self._least)  # what overflows is far again
        return np.minimum(far.view(np.uint64), np.uint64(self.count)).view(np.int64)


class _Hashed:
    """Numbers of whole numbers that lie far apart, by a table of buckets most of which hold one or none."""

    def __init__(self, column: Any):
        self.kind = column.type
        values = columns.to_numpy(pc.unique(_whole_numbers(column.drop_null())))
        self.count = len(values)
        bits = max(4, int(4 * max(1, self.count)).bit_length())
        self._shift = np.uint64(64 - bits)
        order, ends = np.empty(self.count, np.uint32), np.zeros(1 << bits, np.int64)
        _native.columns_partition(self._bucket(values), order, ends)
        self._values = values[order]
        self._ends = np.concatenate([np.zeros(1, np.int32), ends.astype(np.int32)])
        self._most = int(np.diff(self._ends).max())

    def _bucket(self, values: np.ndarray) -> np.ndarray:
        return ((values.view(np.uint64) * GOLDEN) >> self._shift).astype(np.uint32)

    def of(self, column: Any) -> np.ndarray:
        """The number of each value; `count` for those that are not known."""
        values = columns.to_numpy(_whole_numbers(column).fill_null(0))
        bucket = self._bucket(np.ascontiguousarray(values))
        place, end = self._ends[bucket], self._ends[bucket + np.uint32(1)]
        found = np.full(len(values), self.count, np.int64)
        rows = np.flatnonzero(place < end)
        for _ in range(self._most):
            at = place[rows]
            hit = self._values[at] == values[rows]
            found[rows[hit]] = at[hit]
            rows = rows[~hit]
            place[rows] += 1
            rows = rows[place[rows] < end[rows]]
        if column.null_count:
            found[np.asarray(column.is_null())] = self.count
        return found


class _Values:
    """Numbers of any values: their places among the different ones."""

    def __init__(self, column: Any):
        self.kind = column.type
        self._values = pc.unique(column.drop_null())
        self.count = len(self._values)

    def of(self, column: Any) -> np.ndarray:
        """The number of each value; `count` for those that are not known."""
        return np.asarray(pc.index_in(column, value_set=self._values, skip_nulls=True).fill_null(self.count))


def _whole_numbers(column: Any) -> pa.Array:
    if pa.types.is_temporal(column.type):
        column = column.view(pa.int32() if column.type.bit_width == 32 else pa.int64())
    return column.cast(pa.int64())


def _numbers_for(column: Any) -> Any:
    """How values of a key become numbers."""
    if _is_whole(column.type) and column.null_count < len(column):
        ends = pc.min_max(_whole_numbers(column)).as_py()
        count = ends["max"] - ends["min"] + 1
        if count <= max(LEAST_SPAN, SPAN * len(column)):
            return _Span(column.type, ends["min"], count)
        return _Hashed(column)
    return _Values(column)
