"""Expressions over rows of DataFrames: they divide as pandas does, truly and floored, and by zero to infinity.

Ray computes expressions over blocks that are DataFrames by pandas and over all others by Arrow, whose quotients of
whole numbers are whole. Which of both it is follows here from what the dataset is made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.data.arithmetic import PANDAS_DIVISION
from narke.data.exchange import Repartition, ShuffleOrder
from narke.data.expressions import BinaryExpr, Expr
from narke.data.plan import Blocks, Gather, Limit, Map, Node
from narke.data.projection import Project, Where, WithExpressions


class FrameExpr(Expr):
    """An expression that divides by pandas' rules."""

    expr: Expr

    def __init__(self, expr: Expr):
        super().__init__(expr.data_type)
        self.expr, self.parts = expr, (expr,)

    @property
    def name(self) -> str | None:
        return self.expr.name

    @property
    def needs_rows(self) -> bool:
        return True

    def _compute(self, get: Callable[[str], Any]) -> Any:
        return self.expr._compute(get.dividing(PANDAS_DIVISION))  # type: ignore[attr-defined]

    def _text(self) -> str:
        return str(self.expr)


def fitting(expr: Expr, plan: Node) -> Expr:
    """An expression as it is meant over the rows of a plan."""
    return FrameExpr(expr) if _divides(expr) and has_frames(plan) else expr


def _divides(expr: Expr) -> bool:
    own = isinstance(expr, BinaryExpr) and expr.op.value in PANDAS_DIVISION
    return own or any(_divides(part) for part in expr.parts)


def has_frames(plan: Node) -> bool:
    """Whether rows are those of DataFrames still: nothing but columns and rows was chosen, or columns computed."""
    if isinstance(plan, Blocks):
        return plan.frames
    return _keeps_frames(plan) and has_frames(plan.inputs[0])


def _keeps_frames(plan: Node) -> bool:
    if isinstance(plan, Map):
        return all(isinstance(step.fn, (Project, Where, WithExpressions)) for step in plan.steps)
    moved = isinstance(plan, Gather) and isinstance(plan.planner, (Repartition, ShuffleOrder))
    return moved or isinstance(plan, Limit)
