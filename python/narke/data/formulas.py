"""Expressions over plain numbers as formulas, which the engine computes in one pass, or only sums.

See `src/data/formula.h`.
Sums, differences, products and quotients of columns of 64-bit integers or floats without nulls are formulas; everything
else is Arrow's to compute. Both give the same values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import pyarrow as pa

from narke import _native
from narke.data.expressions import AliasExpr, BinaryExpr, ColumnExpr, LiteralExpr, Operation

ACTIONS = {Operation.ADD: "+", Operation.SUB: "-", Operation.MUL: "*", Operation.DIV: "/"}
KINDS = {pa.int64(): "i", pa.float64(): "f"}
DEEPEST = 16  # numbers that a formula may hold at once, as in src/data/formula.h
EXACT = 2**53  # whole numbers up to this are floats, too
LARGEST = 2**63


@dataclasses.dataclass(frozen=True)
class Formula:
    """Steps in postfix order, over so many rows; each a column to those that ask what it holds.

    Args:
        kind: "i" for 64-bit integers, which wrap around, or "f" for floats. steps: (action, number, buffer or None).
        rows: how many. depth: numbers held at once.
    """

    kind: str
    steps: tuple[tuple[str, Any, Any], ...]
    rows: int
    depth: int = 1

    null_count: ClassVar[int] = 0

    def __len__(self) -> int:
        return self.rows

    def array(self) -> pa.Array:
        """The values."""
        values = pa.allocate_buffer(8 * self.rows)
        _native.columns_formula(self.kind, self.steps, self.rows, values)
        return pa.Array.from_buffers(self.type, self.rows, [None, values])

    def sum(self) -> pa.Array:
        """The sum of all values, as a column of one."""
        return pa.array([_native.columns_formula(self.kind, self.steps, self.rows, None)], self.type)

    @property
    def type(self) -> pa.DataType:
        """Arrow's type of the values."""
        return pa.float64() if self.kind == "f" else pa.int64()

    @property
    def is_number(self) -> bool:
        """Whether it is one number for all rows."""
        return len(self.steps) == 1 and self.steps[0][0] == "k"


def sequence(first: int, rows: int) -> Formula:
    """Whole numbers from `first` on."""
    return Formula("i", (("n", first, None),), rows)


class Sequence:
    """A column of whole numbers from `first` on, of a block whose columns are not made yet."""

    def __init__(self, first: int, rows: int):
        self.formula = sequence(first, rows)

    def __call__(self) -> pa.Array:
        return self.formula.array()


class Computed:
    """From a block to the values of an expression that depend on nothing but each row."""

    def __init__(self, expr: Any):
        self._expr = expr

    def __call__(self, block: Any) -> Any:
        made = self.formula(block)
        return self._expr.evaluate(block) if made is None else made.array()

    def formula(self, block: Any) -> Formula | None:
        """The expression as a formula; None when it is none over these columns."""
        return formula_of(self._expr, block)


def formula_of(expr: Any, block: Any) -> Formula | None:
    """An expression as a formula over a block's columns; None when it is none, or nothing but a column."""
    while isinstance(expr, AliasExpr):
        expr = expr.expr
    if not isinstance(expr, BinaryExpr):
        return None
    made = _formula(expr, lambda name: _column(block, name), block.num_rows)
    return made if made is not None and made.depth <= DEEPEST else None


def _formula(expr: Any, get: Callable[[str], Formula | None], rows: int) -> Formula | None:
    if isinstance(expr, AliasExpr):
        return _formula(expr.expr, get, rows)
    if isinstance(expr, ColumnExpr):
        return get(expr.name)
    if isinstance(expr, LiteralExpr):
        return _number(expr.value, rows)
    if not isinstance(expr, BinaryExpr) or expr.op not in ACTIONS:
        return None
    left = _formula(expr.left, get, rows)
    right = None if left is None else _formula(expr.right, get, rows)
    return None if left is None or right is None else _combined(ACTIONS[expr.op], left, right)


def _combined(action: str, left: Formula, right: Formula) -> Formula | None:
    if left.kind != right.kind:
        left, right = _as_floats(left), _as_floats(right)
    if left.kind != right.kind or (action == "/" and left.kind == "i"):
        return None
    steps = (*left.steps, *right.steps, (action, 0, None))
    return Formula(left.kind, steps, left.rows, max(left.depth, 1 + right.depth))


def _as_floats(formula: Formula) -> Formula:
    """A whole number as a float where it is one; columns are not changed, because Arrow looks at each value."""
    number = formula.steps[0][1]
    if not formula.is_number or abs(number) > EXACT:
        return formula
    return dataclasses.replace(formula, kind="f", steps=(("k", float(number), None),))


def _number(value: Any, rows: int) -> Formula | None:
    if type(value) is int and -LARGEST <= value < LARGEST:
        return Formula("i", (("k", value, None),), rows)
    return Formula("f", (("k", value, None),), rows) if type(value) is float else None


def _column(block: Any, name: str) -> Formula | None:
    if name not in block.column_names:
        return None
    known = block.formula(name) if hasattr(block, "formula") else None
    if known is not None:
        return known
    column = block.column(name)
    if isinstance(column, pa.ChunkedArray):
        if column.num_chunks != 1:
            return None
        column = column.chunk(0)
    if column.type not in KINDS or column.null_count:
        return None
    return Formula(KINDS[column.type], (("c", column.offset, column.buffers()[1]),), len(column))
