"""Functions from Arrow table to Arrow table that operators on columns use; they travel to tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from narke.data import blocks as blk
from narke.data import columns
from narke.data.blocks import Block, upsert
from narke.data.near_names import unknown


class Project:
    """Chooses, drops or renames columns.

    Args:
        pairs: (new name, column) to keep. drop: names to leave out. rename: dict from old to new, or all names.
    """

    __name__ = "Project"

    def __init__(
        self,
        pairs: tuple[tuple[str, str], ...] | None = None,
        drop: tuple[str, ...] = (),
        rename: dict[str, str] | list[str] | None = None,
    ):
        self._pairs, self._drop, self._rename = pairs, drop, rename

    @property
    def takes_lazy(self) -> bool:
        """Whether it works on blocks whose columns are not read yet."""
        return self._pairs is not None

    @property
    def touches(self) -> set[str] | None:
        """Columns whose values it looks at, or whose names it changes; None when that is not known."""
        plain = self._pairs is not None and all(new == old for new, old in self._pairs)
        return set() if plain else None

    def __call__(self, block: Any) -> Any:
        if not block.column_names and not block.num_rows:
            return block
        if self._pairs is not None:
            _check(block, [old for _, old in self._pairs])
            return block.select([old for _, old in self._pairs])
        if self._rename is not None:
            return self._renamed(block)
        _check(block, list(self._drop))
        return block.drop_columns(list(self._drop))

    def _renamed(self, block: Block) -> Block:
        if isinstance(self._rename, dict):
            _check(block, list(self._rename))
            return block.rename_columns([self._rename.get(n, n) for n in block.column_names])
        names = list(self._rename or [])
        if len(names) != block.num_columns:
            raise ValueError(
                f"rename_columns: {len(names)} names do not fit the columns {block.column_names}"
            )
        return block.rename_columns(names)


def _check(block: Block, names: list[str]) -> None:
    missing = [name for name in names if name not in block.column_names]
    if missing:
        raise KeyError(unknown(missing, block.column_names))


class Where:
    """Keeps the rows for which an expression holds."""

    __name__ = "Filter"

    def __init__(self, predicate: Any):
        self._predicate = predicate

    @property
    def touches(self) -> set[str]:
        """Columns whose values it looks at."""
        return set(self._predicate.columns)

    def __call__(self, block: Block) -> Block:
        if not block.num_columns:
            return block
        return block.filter(self._predicate.evaluate(block))


class WithColumn:
    """Adds a column that a function makes of a batch."""

    __name__ = "AddColumn"

    def __init__(self, name: str, fn: Callable[[Any], Any], batch_format: str | None):
        self._name, self._fn, self._format = name, fn, batch_format

    def __call__(self, block: Block) -> Block:
        if not block.num_columns and not block.num_rows:
            return block
        return upsert(block, self._name, columns.to_arrow(self._fn(blk.to_batch(block, self._format))))


class WithExpressions:
    """A step over a task's blocks that adds columns by expressions, each of which sees those before it."""

    __name__ = "WithColumn"

    def __init__(self, exprs: dict[str, Any]):
        self._exprs = exprs

    @property
    def touches(self) -> set[str]:
        """Columns whose values it looks at, or puts others in the place of."""
        return set(self._exprs).union(*(expr.columns for expr in self._exprs.values()))

    def __call__(self, index: int, blocks: Iterable[Block]) -> Iterator[Block]:
        place = index << PLACE_BITS
        for block in blocks:
            rows = block.num_rows
            if block.num_columns or rows:
                for name, expr in self._exprs.items():
                    block = upsert(block, name, expr.evaluate(block, place))
            yield block
            place += rows


PLACE_BITS = 33  # rows a task may have before numbers of two tasks could meet
