"""Functions from Arrow table to Arrow table that operators on columns use; they travel to tasks."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from narke.data import blocks as blk
from narke.data import columns
from narke.data.blocks import Block, upsert
from narke.data.expressions import BinaryExpr, Operation
from narke.data.formulas import Computed, formula_of
from narke.data.lazy import LazyBlock
from narke.data.near_names import unknown


class Project:
    """Chooses, drops or renames columns.

    Args:
        pairs: (new name, column) to keep. drop: names to leave out. rename: dict from old to new, or all names.
        error: what is raised where a column to keep is not there.
    """

    __name__ = "Project"

    def __init__(
        self,
        pairs: tuple[tuple[str, str], ...] | None = None,
        drop: tuple[str, ...] = (),
        rename: dict[str, str] | list[str] | None = None,
        error: type[Exception] = KeyError,
    ):
        self._pairs, self.drops, self._rename, self._error = pairs, drop, rename, error

    @property
    def takes_lazy(self) -> bool:
        """Whether it works on blocks whose columns are not read yet."""
        return self._pairs is not None

    def needs(self, later: set[str] | None) -> set[str] | None:
        """Columns that it needs when those after it need `later`; None: all."""
        return None if self._pairs is None else {old for _, old in self._pairs}

    @property
    def touches(self) -> set[str] | None:
        """Columns whose values it looks at, or whose names it changes; None when that is not known."""
        plain = self._pairs is not None and all(new == old for new, old in self._pairs)
        return set() if plain else None

    def __call__(self, block: Any) -> Any:
        if not block.column_names and not block.num_rows:
            return block
        if self._pairs is not None:
            _check(block, [old for _, old in self._pairs], error=self._error)
            return block.select([old for _, old in self._pairs])
        if self._rename is not None:
            return self._renamed(block)
        _check(block, list(self.drops))
        return block.drop_columns(list(self.drops))

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


def _check(block: Any, names: list[str], what: str = "", error: type[Exception] = KeyError) -> None:
    missing = [name for name in names if name not in block.column_names]
    if missing:
        raise error(what + unknown(missing, block.column_names))


class Where:
    """Keeps the rows for which an expression holds."""

    __name__ = "Filter"

    def __init__(self, predicate: Any):
        self.predicate = predicate

    @property
    def touches(self) -> set[str]:
        """Columns whose values it looks at."""
        return set(self.predicate.columns)

    takes_lazy = True

    def needs(self, later: set[str] | None) -> set[str] | None:
        """See `Project.needs`."""
        return None if later is None else later | self.predicate.columns

    def __call__(self, block: Any) -> Any:
        if not block.column_names:
            return block
        if isinstance(block, LazyBlock):
            _check(block, sorted(self.predicate.columns), f"cannot compute {self.predicate}: ")
            return self._chosen(block)
        return block.filter(self.predicate.evaluate(block))

    def _chosen(self, block: LazyBlock) -> LazyBlock:
        """First what columns can be asked one by one; the rest over the rows that are left."""
        if self.predicate.needs_rows or not self.predicate.is_idempotent():
            return block.kept(self.predicate.evaluate(block))
        parts = _by_columns(_conjuncts(self.predicate))
        left = []
        held: Any = None
        for names, part in parts.items():
            mask = _tested(block, next(iter(names)), part) if len(names) == 1 else None
            if mask is None:
                left.append(part)
            else:
                held = mask if held is None else pc.and_(held, mask)
        block = block if held is None else block.kept(held)
        return block.kept(functools.reduce(operator.and_, left).evaluate(block)) if left else block


def _conjuncts(expr: Any) -> Iterator[Any]:
    """The conditions that all must hold for an expression to hold."""
    if isinstance(expr, BinaryExpr) and expr.op is Operation.AND:
        yield from _conjuncts(expr.left)
        yield from _conjuncts(expr.right)
    else:
        yield expr


def _by_columns(parts: Iterable[Any]) -> dict[frozenset[str], Any]:
    """Conditions that all must hold, those over the same columns put together."""
    made: dict[frozenset[str], Any] = {}
    for part in parts:
        known = made.get(part.columns)
        made[part.columns] = part if known is None else known & part
    return made


def _tested(block: LazyBlock, name: str, part: Any) -> Any:
    return block.tested(name, lambda values: part.evaluate(pa.table({name: values})))


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

    takes_lazy = True

    def __init__(self, exprs: dict[str, Any]):
        self._exprs = exprs

    def needs(self, later: set[str] | None) -> set[str] | None:
        """See `Project.needs`."""
        for name, expr in reversed(self._exprs.items()):
            later = None if later is None else (later - {name}) | expr.columns
        return later

    @property
    def touches(self) -> set[str]:
        """Columns whose values it looks at, or puts others in the place of."""
        return set(self._exprs).union(*(expr.columns for expr in self._exprs.values()))

    def __call__(self, index: int, blocks: Iterable[Any]) -> Iterator[Any]:
        place = index << PLACE_BITS
        for block in blocks:
            rows = block.num_rows
            if block.column_names or rows:
                for name, expr in self._exprs.items():
                    block = _with(block, name, expr, place)
            yield block
            place += rows


def _with(block: Any, name: str, expr: Any, place: int) -> Any:
    """The block with a column by an expression; of an unread block it is computed when somebody looks at it."""
    if not isinstance(block, LazyBlock):
        made = formula_of(expr, block)
        return upsert(block, name, expr.evaluate(block, place) if made is None else made.array())
    if not expr.columns <= set(block.column_names):
        _check(block, sorted(expr.columns), f"cannot compute {expr}: ")
    if expr.needs_rows or not expr.is_idempotent():
        return block.beside({name: expr.evaluate(block, place)})
    return block.with_formulas({name: Computed(expr)})


PLACE_BITS = 33  # rows a task may have before numbers of two tasks could meet
