"""Blocks whose columns are read when somebody looks at them, and the batches that functions see of such blocks.

A function over batches is a black box: nobody knows which columns it needs before it runs. So it gets a dict that
reads a column when it is touched; what neither the function nor anything after it touches is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from narke.data import columns, kernels
from narke.data.single import Single

FEW = 0.6  # share of rows below which they are picked by number
Load = Callable[[], "pa.ChunkedArray | pa.Array"]


class LazyBlock:
    """A table of which each column is an array already, or is made when it is asked for.

    Args:
        rows: number of rows. parts: by column name, in order: arrays, functions that read them, or parts of the kinds
            below. nbytes: what it will take when all is read. types: of columns, where they are known.
    """

    def __init__(
        self, rows: int, parts: Mapping[str, Any], nbytes: int = 0, types: Mapping[str, Any] | None = None
    ):
        self.num_rows, self._parts, self.nbytes = rows, dict(parts), nbytes
        self._types = types or {}
        self._last: tuple[Any, LazyBlock] | None = None

    @property
    def column_names(self) -> list[str]:
        """Names of its columns."""
        return list(self._parts)

    def column(self, name: str) -> Any:
        """A column, made if need be.

        Raises:
            ValueError: the reader gave another number of rows.
        """
        part = self._parts[name]
        if callable(part):
            part = part()
            if len(part) != self.num_rows:
                raise ValueError(f"column {name!r} has {len(part)} rows; the block has {self.num_rows}")
            self._parts[name] = part
        return part

    def select(self, names: list[str]) -> LazyBlock:
        """Some of its columns, read no sooner than before."""
        chosen = {name: self._parts[name] for name in names}
        return LazyBlock(
            self.num_rows, chosen, self.nbytes * len(names) // max(1, len(self._parts)), self._types
        )

    def table(self) -> pa.Table:
        """All of it, as an Arrow table."""
        return pa.table({name: self.column(name) for name in self._parts})

    def replaced(self, parts: Mapping[str, Any]) -> LazyBlock:
        """A block of other columns of as many rows."""
        return LazyBlock(self.num_rows, parts, self.nbytes)

    def with_formulas(self, made: Mapping[str, Any]) -> LazyBlock:
        """The block with columns that are computed when they are asked for, in the place of those of the same name.

        Args:
            made: by column name, a function from this block to the values, which depend on nothing but each row.
        """
        return self.beside({name: _Formula(self, fn) for name, fn in made.items()})

    def beside(self, others: Mapping[str, Any]) -> LazyBlock:
        """The block with further columns, or others in the place of those of the same name."""
        return LazyBlock(self.num_rows, {**self.shared(), **others}, self.nbytes, self._types)

    def formula(self, name: str) -> Any:
        """The `Formula` of a column that is not made yet; None when it is made, or something else."""
        return getattr(self._parts[name], "formula", None)

    def shared(self) -> dict[str, Any]:
        """Its columns as parts of another block of as many rows; what one of both makes, the other has too."""
        return {name: _Same(self, name) for name in self._parts}

    def kept(self, mask: Any) -> LazyBlock:
        """The rows for which a column of truth values holds."""
        count = pc.sum(mask).as_py() or 0
        if count == self.num_rows:
            return self
        few = count < FEW * self.num_rows
        held = np.asarray(pc.indices_nonzero(mask)).astype(np.uint32) if few else None
        return self.chosen(_Mask(mask, count) if held is None else Rows(held))

    def chosen(self, rows: Any) -> LazyBlock:
        """Some of its rows; columns are read whole, but only when they are asked for."""
        if self._last is None or self._last[0] is not rows:
            parts = {
                name: (part.chosen(rows) if isinstance(part, _Part) else None) or _Chosen(self, name, rows)
                for name, part in self._parts.items()
            }
            size = self.nbytes * rows.count // max(1, self.num_rows)
            self._last = (rows, LazyBlock(rows.count, parts, size, self._types))
        return self._last[1]

    def peek(self, name: str) -> Any:
        """A column, made if need be, and not kept."""
        part = self._parts[name]
        return part() if callable(part) else part

    def picked(self, name: str, rows: Any) -> Any:
        """Some rows of a column, without the others where its reader can do that; not kept."""
        pick = getattr(self._parts[name], "pick", None) if isinstance(rows, Rows) else None
        made = None if pick is None else pick(rows.numbers)
        return rows.of(self.peek(name)) if made is None else made

    def tested(self, name: str, holds: Callable[[Any], Any]) -> Any:
        """For each row whether a test of a column's value holds (null: it does not).

        Args:
            holds: from values to truth values.

        Returns: None when the column's reader has no quicker way than to read it.
        """
        test = getattr(self._parts[name], "test", None)
        return None if test is None else test(holds)

    def nothing_of(self, name: str) -> Any:
        """A column of its type without rows; None when the type is not known before it is read."""
        part = self._parts[name]
        kind = self._types.get(name) if callable(part) else part.type
        return None if kind is None else pa.chunked_array([], kind)


class Rows:
    """Rows by number, of 32 bits."""

    def __init__(self, numbers: np.ndarray):
        self.numbers, self.count = numbers, len(numbers)
        self._places: dict[Any, np.ndarray] = {}
        self._within: tuple[Any, Rows] | None = None

    def within(self, others: Rows) -> Rows:
        """These of the rows that others are: numbers of rows of what those are taken of."""
        if self._within is None or self._within[0] is not others:
            self._within = (others, Rows(others.numbers[self.numbers]))
        return self._within[1]

    def of(self, column: Any) -> Any:
        """Those rows of a column."""
        whole = pa.chunked_array([column]) if isinstance(column, pa.Array) else column
        return kernels.take_column(whole, self.numbers, self._places)


class _Mask:
    """The `count` rows for which truth values hold: quicker than numbers when they are many."""

    def __init__(self, mask: Any, count: int):
        self._mask, self.count = mask, count

    def of(self, column: Any) -> Any:
        """Those rows of a column."""
        return column.filter(self._mask)


class _Part:
    """Base of columns of a block that are made of what another block has."""

    def __init__(self, block: LazyBlock):
        self._block = block

    def __call__(self) -> Any:
        raise NotImplementedError

    def chosen(self, rows: Any) -> _Part | None:
        """The same of some rows; None: in no better way than to make it and choose then."""
        raise NotImplementedError


class _Same(_Part):
    """Another block's column."""

    def __init__(self, block: LazyBlock, name: str):
        super().__init__(block)
        self._name = name

    def __call__(self) -> Any:
        return self._block.column(self._name)

    def chosen(self, rows: Any) -> _Part:
        return _Same(self._block.chosen(rows), self._name)

    @property
    def formula(self) -> Any:
        """See `LazyBlock.formula`."""
        return self._block.formula(self._name)

    def test(self, holds: Callable[[Any], Any]) -> Any:
        """See `LazyBlock.tested`."""
        return self._block.tested(self._name, holds)


class _Formula(_Part):
    """What a function makes of another block, row by row."""

    def __init__(self, block: LazyBlock, make: Callable[[LazyBlock], Any]):
        super().__init__(block)
        self._make = make

    def __call__(self) -> Any:
        return self._make(self._block)

    @property
    def formula(self) -> Any:
        """See `LazyBlock.formula`."""
        known = getattr(self._make, "formula", None)
        return None if known is None else known(self._block)

    def chosen(self, rows: Any) -> _Part:
        return _Formula(self._block.chosen(rows), self._make)


class _Chosen(_Part):
    """Some rows of another block's column."""

    def __init__(self, block: LazyBlock, name: str, rows: Any):
        super().__init__(block)
        self._name, self._rows = name, rows

    def __call__(self) -> Any:
        nothing = None if self._rows.count else self._block.nothing_of(self._name)
        return self._block.picked(self._name, self._rows) if nothing is None else nothing

    def chosen(self, rows: Any) -> _Part | None:
        """Those rows of the other block at once, so that rows between are not made; None where there is no number."""
        within = rows.within(self._rows) if isinstance(rows, Rows) and isinstance(self._rows, Rows) else None
        return None if within is None else _Chosen(self._block, self._name, within)


def unread(blocks: Iterable[Any]) -> Iterator[LazyBlock]:
    """Blocks, tables among them, as blocks whose columns may be looked at one by one."""
    for block in blocks:
        if isinstance(block, LazyBlock):
            yield block
        else:
            yield of_table(block)


def of_table(table: pa.Table) -> LazyBlock:
    """A block of a table's columns."""
    parts = dict(zip(table.column_names, table.columns, strict=True))
    return LazyBlock(table.num_rows, parts, table.nbytes)


class LazyBatch(Single, dict):
    """A batch, a dict from column name to array, of which arrays are made when they are first asked for."""

    def __init__(self, block: LazyBlock, writable: bool = False):
        super().__init__(dict.fromkeys(block.column_names))
        self._block, self._writable = block, writable
        self._waiting = set(block.column_names)

    def _made(self, name: Any) -> Any:
        if name in self._waiting:
            values = columns.to_numpy(self._block.column(name))
            if self._writable and not values.flags.writeable:
                values = values.copy()
            self._waiting.discard(name)
            super().__setitem__(name, values)
        return super().__getitem__(name)

    def to_block(self) -> LazyBlock | None:
        """Its columns as a block, those nobody touched still unread; None when the function changed their length."""
        done = {name: super(LazyBatch, self).__getitem__(name) for name in self if name not in self._waiting}
        arrays = {name: columns.to_arrow(values) for name, values in done.items()}
        if any(len(array) != self._block.num_rows for array in arrays.values()):
            return None
        parts = {name: arrays[name] if name in arrays else self._load(name) for name in self}
        return self._block.replaced(parts)

    def _load(self, name: str) -> Load:
        return lambda: self._block.column(name)

    def __getitem__(self, name: Any) -> Any:
        return self._made(name)

    def __setitem__(self, name: Any, value: Any) -> None:
        self._waiting.discard(name)
        super().__setitem__(name, value)

    def __delitem__(self, name: Any) -> None:
        self._waiting.discard(name)
        super().__delitem__(name)

    # `dict(batch)`, `{**batch}` and `f(**batch)` go by keys() and [] only for classes with an __iter__ of their own
    def __iter__(self) -> Iterator[Any]:
        return super().__iter__()

    def get(self, name: Any, default: Any = None) -> Any:
        """See `dict.get`."""
        return self._made(name) if name in self else default

    def pop(self, name: Any, *default: Any) -> Any:
        """See `dict.pop`."""
        if name in self:
            self._made(name)
        return super().pop(name, *default)

    def popitem(self) -> tuple[Any, Any]:
        """See `dict.popitem`."""
        self._read_all()
        return super().popitem()

    def setdefault(self, name: Any, default: Any = None) -> Any:
        """See `dict.setdefault`."""
        return self._made(name) if name in self else super().setdefault(name, default)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """See `dict.update`."""
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def clear(self) -> None:
        """See `dict.clear`."""
        self._waiting.clear()
        super().clear()

    def values(self) -> Any:
        """See `dict.values`."""
        self._read_all()
        return super().values()

    def items(self) -> Any:
        """See `dict.items`."""
        self._read_all()
        return super().items()

    def copy(self) -> dict[Any, Any]:
        """A dict of all its arrays."""
        return dict(self)

    def _read_all(self) -> None:
        for name in list(self._waiting):
            self._made(name)

    def __eq__(self, other: object) -> bool:
        return dict(self) == other

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: Any) -> dict[Any, Any]:
        return dict(self) | dict(other)

    def __ror__(self, other: Any) -> dict[Any, Any]:
        return dict(other) | dict(self)

    def __ior__(self, other: Any) -> LazyBatch:
        self.update(other)
        return self

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> Any:
        return dict, (dict(self),)
