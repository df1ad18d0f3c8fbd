"""Expressions over columns, evaluated by Arrow: ``col("x") > 3``, or the same as text in `Dataset.filter`."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

Arrow = Any


class Expr:
    """A value per row. Build with `col` and `lit`, combine with Python's operators and the methods below.

    Args:
        compute: from a function "column by name" to an Arrow value; works on data and on Arrow's own expressions.
        text: how it is shown.
        columns: names it reads.
        name: name of the column it makes, when it has one.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self,
        compute: Callable[[Callable[[str], Arrow]], Arrow],
        text: str,
        columns: frozenset[str],
        name: str | None = None,
    ):
        self._compute = compute
        self._text = text
        self.columns = columns
        self.name = name

    def __repr__(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        raise TypeError(f"{self} has a value per row: combine with &, | and ~, not with and, or and not")

    def evaluate(self, block: pa.Table) -> pa.Array | pa.ChunkedArray:
        """Its values for the rows of a block.

        Raises:
            KeyError: the block lacks a column that it reads.
        """
        missing = sorted(self.columns - set(block.column_names))
        if missing:
            raise KeyError(f"{self} reads {missing}, but the columns are {block.column_names}")
        value = self._compute(block.column)
        if isinstance(value, pa.Scalar):
            return pa.repeat(value, block.num_rows)
        return value

    def to_pyarrow(self) -> pc.Expression:
        """The same as an expression of Arrow's datasets."""
        value = self._compute(pc.field)
        return pc.scalar(value) if isinstance(value, pa.Scalar) else value

    def alias(self, name: str) -> Expr:
        """The same under a name."""
        return Expr(self._compute, f"{self._text}.alias({name!r})", self.columns, name)

    def cast(self, target_type: Any, *, safe: bool = True) -> Expr:
        """Its values as another Arrow type; `safe` refuses to lose digits."""
        kind = target_type.to_arrow_dtype() if hasattr(target_type, "to_arrow_dtype") else target_type
        return self._then(lambda v: pc.cast(v, kind, safe=safe), f"cast({kind})")

    def is_null(self) -> Expr:
        """True where it is null."""
        return self._then(pc.is_null, "is_null()")

    def is_not_null(self) -> Expr:
        """True where it is not null."""
        return self._then(pc.is_valid, "is_not_null()")

    def is_in(self, values: Iterable[Any]) -> Expr:
        """True where it is one of `values`."""
        known = pa.array(list(values.values if hasattr(values, "values") else values))
        return self._then(lambda v: pc.is_in(v, value_set=known), f"is_in({known.to_pylist()})")

    def not_in(self, values: Iterable[Any]) -> Expr:
        """True where it is none of `values`."""
        return ~self.is_in(values)

    def power(self, exponent: Any) -> Expr:
        """It to the power of `exponent`."""
        return _binary(pc.power, self, exponent, "**")

    def negate(self) -> Expr:
        """Minus it."""
        return -self

    def _then(self, change: Callable[[Arrow], Arrow], text: str) -> Expr:
        return Expr(lambda get: change(self._compute(get)), f"{self._text}.{text}", self.columns)

    def __neg__(self) -> Expr:
        return self._then(pc.negate, "negate()")

    def __invert__(self) -> Expr:
        return self._then(pc.invert, "invert()")


def _binary(function: Any, left: Any, right: Any, sign: str) -> Expr:
    a, b = _as_expr(left), _as_expr(right)
    return Expr(
        lambda get: function(a._compute(get), b._compute(get)), f"({a} {sign} {b})", a.columns | b.columns
    )


def _divide(left: Arrow, right: Arrow) -> Arrow:
    return pc.divide(pc.cast(left, pa.float64()), pc.cast(right, pa.float64()))


def _floor_divide(left: Arrow, right: Arrow) -> Arrow:
    return pc.floor(_divide(left, right))


def _modulo(left: Arrow, right: Arrow) -> Arrow:
    return pc.subtract(left, pc.multiply(pc.floor(_divide(left, right)), right))


_OPERATORS = {
    "add": (pc.add, "+"),
    "sub": (pc.subtract, "-"),
    "mul": (pc.multiply, "*"),
    "truediv": (_divide, "/"),
    "floordiv": (_floor_divide, "//"),
    "mod": (_modulo, "%"),
    "pow": (pc.power, "**"),
    "and": (pc.and_kleene, "&"),
    "or": (pc.or_kleene, "|"),
}
_COMPARISONS = {
    "eq": (pc.equal, "=="),
    "ne": (pc.not_equal, "!="),
    "lt": (pc.less, "<"),
    "le": (pc.less_equal, "<="),
    "gt": (pc.greater, ">"),
    "ge": (pc.greater_equal, ">="),
}


def _install_operators() -> None:
    for name, (function, sign) in {**_OPERATORS, **_COMPARISONS}.items():
        setattr(Expr, f"__{name}__", lambda a, b, f=function, s=sign: _binary(f, a, b, s))
    for name, (function, sign) in _OPERATORS.items():
        setattr(Expr, f"__r{name}__", lambda a, b, f=function, s=sign: _binary(f, b, a, s))
    for name in (
        "abs",
        "ceil",
        "floor",
        "round",
        "trunc",
        "exp",
        "ln",
        "log10",
        "log2",
        "sin",
        "cos",
        "tan",
        "sign",
    ):
        setattr(Expr, name, _unary(name))
    for name in ("asin", "acos", "atan"):
        setattr(Expr, name, _unary(name))


def _unary(name: str) -> Callable[[Expr], Expr]:
    function = getattr(pc, name)

    def method(self: Expr) -> Expr:
        return self._then(function, f"{name}()")

    method.__name__ = name
    method.__doc__ = f"Arrow's {name} of it."
    return method


_install_operators()


def col(name: str) -> Expr:
    """The column `name`."""
    return Expr(lambda get: get(name), f"col({name!r})", frozenset({name}), name)


def lit(value: Any) -> Expr:
    """One value for all rows."""
    return Expr(lambda get: pa.scalar(value), f"lit({value!r})", frozenset())


def _as_expr(value: Any) -> Expr:
    return value if isinstance(value, Expr) else lit(value)


def parse(text: str) -> Expr:
    """The expression that a text such as ``"x > 3 and name == 'a'"`` means.

    Raises:
        ValueError: it is not an expression, or uses something that has no meaning for columns.
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"the filter expression {text!r} is not valid: {error.msg}") from None
    return _parsed(tree, text)


_SIGNS = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.FloorDiv: "floordiv", ast.Mod: "mod",
    ast.Pow: "pow", ast.BitAnd: "and", ast.BitOr: "or", ast.And: "and", ast.Or: "or",
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge",
}  # fmt: skip


def _parsed(node: ast.AST, text: str) -> Expr:
    if isinstance(node, ast.Name):
        return col(node.id)
    if isinstance(node, ast.Constant):
        return lit(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in _SIGNS:
        return _combine(_SIGNS[type(node.op)], _parsed(node.left, text), _parsed(node.right, text))
    if isinstance(node, ast.BoolOp):
        parts = [_parsed(value, text) for value in node.values]
        return _folded(_SIGNS[type(node.op)], parts)
    if isinstance(node, ast.Compare):
        return _comparison(node, text)
    return _parsed_rest(node, text)


def _parsed_rest(node: ast.AST, text: str) -> Expr:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.Invert)):
        return ~_parsed(node.operand, text)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_parsed(node.operand, text)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
        if node.func.id in ("is_null", "is_not_null", "is_nan", "is_valid"):
            return _parsed_call(node.func.id, _parsed(node.args[0], text))
    raise ValueError(
        f"the filter expression {text!r} uses {ast.unparse(node)!r}, which has no meaning for columns"
    )


def _parsed_call(name: str, value: Expr) -> Expr:
    return value._then(getattr(pc, "is_valid" if name == "is_not_null" else name), f"{name}()")


def _combine(name: str, left: Expr, right: Expr) -> Expr:
    function, sign = {**_OPERATORS, **_COMPARISONS}[name]
    return _binary(function, left, right, sign)


def _folded(name: str, parts: list[Expr]) -> Expr:
    whole = parts[0]
    for part in parts[1:]:
        whole = _combine(name, whole, part)
    return whole


def _comparison(node: ast.Compare, text: str) -> Expr:
    """A chain of comparisons, each with the next."""
    made, left = [], _parsed(node.left, text)
    for op, right in zip(node.ops, node.comparators, strict=True):
        if isinstance(op, (ast.In, ast.NotIn)):
            chosen = left.is_in(ast.literal_eval(right))
            made.append(chosen if isinstance(op, ast.In) else ~chosen)
            continue
        other = _parsed(right, text)
        made.append(_combine(_SIGNS[type(op)], left, other))
        left = other
    return _folded("and", made)
