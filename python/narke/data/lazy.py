"""Blocks whose columns are read when somebody looks at them, and the batches that functions see of such blocks.

A function over batches is a black box: nobody knows which columns it needs before it runs. So it gets a dict that
reads a column when it is touched; what neither the function nor anything after it touches is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from narke.data import columns
from narke.data.single import Single

Load = Callable[[], "pa.ChunkedArray | pa.Array"]


class LazyBlock:
    """A table of which each column is an array already, or a function that reads it.

    Args:
        rows: number of rows. parts: by column name, in order. nbytes: what it will take when all is read.
    """

    def __init__(self, rows: int, parts: Mapping[str, Any], nbytes: int = 0):
        self.num_rows, self._parts, self.nbytes = rows, dict(parts), nbytes

    @property
    def column_names(self) -> list[str]:
        """Names of its columns."""
        return list(self._parts)

    def column(self, name: str) -> Any:
        """A column, read if need be.

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
        return LazyBlock(self.num_rows, chosen, self.nbytes * len(names) // max(1, len(self._parts)))

    def table(self) -> pa.Table:
        """All of it, as an Arrow table."""
        return pa.table({name: self.column(name) for name in self._parts})

    def replaced(self, parts: Mapping[str, Any]) -> LazyBlock:
        """A block of other columns of as many rows."""
        return LazyBlock(self.num_rows, parts, self.nbytes)


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
