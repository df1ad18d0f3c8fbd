"""Expressions as text, such as ``"x > 3 and name == 'a'"``."""

from __future__ import annotations

import ast

import pyarrow.compute as pc

from narke.data.expressions import BinaryExpr, Expr, Operation, col, lit


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
    ast.Add: "ADD", ast.Sub: "SUB", ast.Mult: "MUL", ast.Div: "DIV", ast.FloorDiv: "FLOORDIV", ast.Mod: "MOD",
    ast.BitAnd: "AND", ast.BitOr: "OR", ast.And: "AND", ast.Or: "OR",
    ast.Eq: "EQ", ast.NotEq: "NE", ast.Lt: "LT", ast.LtE: "LE", ast.Gt: "GT", ast.GtE: "GE",
}  # fmt: skip


def _parsed(node: ast.AST, text: str) -> Expr:
    if isinstance(node, ast.Name):
        return col(node.id)
    if isinstance(node, ast.Constant):
        return lit(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _parsed(node.left, text).power(_parsed(node.right, text))
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
    return BinaryExpr(Operation[name], left, right)


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
    return _folded("AND", made)
