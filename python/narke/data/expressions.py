"""Expressions over columns, evaluated by Arrow: ``col("x") > 3``, or the same as text in `Dataset.filter`."""

from __future__ import annotations

import ast
import uuid as uuids
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from narke.data import columns as columns_of
from narke.data.expression_namespaces import (
    ArrayNamespace,
    DatetimeNamespace,
    ListNamespace,
    MapNamespace,
    StringNamespace,
    StructNamespace,
)
from narke.data.near_names import unknown

Arrow = Any


class Expr:
    """A value per row. Build with `col` and `lit`, combine with Python's operators and the methods below.

    Args:
        compute: from a function "column by name" to an Arrow value; works on data and on Arrow's own expressions.
        text: how it is shown.
        columns: names it reads.
        name: name of the column it makes, when it has one.

    `needs_rows` is set where it can only be computed over rows that are there, not by a data source.
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
        self.needs_rows = False

    def __repr__(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        raise TypeError(f"{self} has a value per row: combine with &, | and ~, not with and, or and not")

    def evaluate(self, block: pa.Table, place: int = 0) -> pa.Array | pa.ChunkedArray:
        """Its values for the rows of a block; `place` numbers the block's first row among all.

        Raises:
            KeyError: the block lacks a column that it reads.
        """
        missing = sorted(self.columns - set(block.column_names))
        if missing:
            raise KeyError(f"cannot compute {self}: {unknown(missing, block.column_names)}")
        value = self._compute(Values(block, place))
        if isinstance(value, pa.Scalar):
            return pa.repeat(value, block.num_rows)
        return value

    def to_pyarrow(self) -> pc.Expression:
        """The same as an expression of Arrow's datasets."""
        value = self._compute(pc.field)
        return pc.scalar(value) if isinstance(value, pa.Scalar) else value

    def alias(self, name: str) -> Expr:
        """The same under a name."""
        made = Expr(self._compute, f"{self._text}.alias({name!r})", self.columns, name)
        made.needs_rows = self.needs_rows
        return made

    def cast(self, target_type: Any, *, safe: bool = True) -> Expr:
        """Its values as another Arrow type; `safe` refuses to lose digits."""
        kind = target_type.to_arrow_dtype() if hasattr(target_type, "to_arrow_dtype") else target_type
        return self._then(lambda v: pc.cast(v, kind, safe=safe), f"cast({kind})")

    def structurally_equals(self, other: Any) -> bool:
        """Whether another expression is written the same."""
        return isinstance(other, Expr) and self._text == other._text and self.name == other.name

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
        made = Expr(lambda get: change(self._compute(get)), f"{self._text}.{text}", self.columns)
        made.needs_rows = self.needs_rows
        return made

    def __neg__(self) -> Expr:
        return self._then(pc.negate, "negate()")

    def __invert__(self) -> Expr:
        return self._then(pc.invert, "invert()")


def _binary(function: Any, left: Any, right: Any, sign: str) -> Expr:
    a, b = _as_expr(left), _as_expr(right)
    made = Expr(
        lambda get: function(a._compute(get), b._compute(get)), f"({a} {sign} {b})", a.columns | b.columns
    )
    made.needs_rows = a.needs_rows or b.needs_rows
    return made


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
    for name in "abs ceil floor round trunc exp ln log10 log2 sin cos tan asin acos atan sign".split():
        setattr(Expr, name, _unary(name))


def _unary(name: str) -> Callable[[Expr], Expr]:
    function = getattr(pc, name)

    def method(self: Expr) -> Expr:
        return self._then(function, f"{name}()")

    method.__name__ = name
    method.__doc__ = f"Arrow's {name} of it."
    return method


_install_operators()

NAMESPACES = {
    "str": StringNamespace,
    "dt": DatetimeNamespace,
    "list": ListNamespace,
    "arr": ArrayNamespace,
    "map": MapNamespace,
    "struct": StructNamespace,
}
for (
    _name,
    _namespace,
) in NAMESPACES.items():  # not in the class, where they would hide the types of these names
    setattr(Expr, _name, property(_namespace, doc=_namespace.__doc__))


def col(name: str) -> Expr:
    """The column `name`."""
    return Expr(lambda get: get(name), f"col({name!r})", frozenset({name}), name)


def lit(value: Any) -> Expr:
    """One value for all rows."""
    return Expr(lambda get: pa.scalar(value), f"lit({value!r})", frozenset())


class Values:
    """What expressions see of a block: its columns by name, its number of rows, the place of its first row."""

    def __init__(self, block: pa.Table, place: int):
        self._block, self.place, self.rows = block, place, block.num_rows

    def __call__(self, name: Any) -> Any:
        return self._block.column(name)


def _of_rows(make: Callable[[Values], Any], text: Any) -> Expr:
    """An expression that needs to know the rows; it has no meaning inside a data source."""

    def compute(get: Any) -> Any:
        if not isinstance(get, Values):
            raise NotImplementedError(f"{text} cannot be computed by a data source")
        return make(get)

    made = Expr(compute, text, frozenset())
    made.needs_rows = True
    return made


def random(*, seed: int | None = None, reseed_after_execution: bool = True) -> Expr:
    """A random number from 0 to 1 for each row; a seed and the row's place decide it.

    `reseed_after_execution` is accepted for Ray's programs: without a seed every execution draws anew anyway.
    """

    def draw(values: Values) -> pa.Array:
        key = None if seed is None else [abs(seed), values.place]
        return pa.array(np.random.default_rng(key).random(values.rows))

    return _of_rows(draw, f"random(seed={seed})")


def uuid() -> Expr:
    """A random UUID for each row, as text."""
    return _of_rows(lambda values: pa.array([str(uuids.uuid4()) for _ in range(values.rows)]), "uuid()")


def monotonically_increasing_id() -> Expr:
    """A number for each row, growing within a block and different everywhere; there are gaps."""
    return _of_rows(
        lambda values: pa.array(np.arange(values.place, values.place + values.rows, dtype=np.int64)),
        "monotonically_increasing_id()",
    )


def udf(return_dtype: Any) -> Callable[[Any], Any]:
    """Decorator: a function of numpy arrays (or a class with such a `__call__`) that makes expressions when called.

    Args:
        return_dtype: type of the result, of Arrow or `DataType`.
    """
    return _function_expr(return_dtype, lambda value: columns_of.to_numpy(value))


def pyarrow_udf(return_dtype: Any) -> Callable[[Any], Any]:
    """Decorator: as `udf`, of Arrow arrays."""
    return _function_expr(return_dtype, lambda value: columns_of.one_chunk(value))


def _function_expr(return_dtype: Any, convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    kind = return_dtype.to_arrow_dtype() if hasattr(return_dtype, "to_arrow_dtype") else return_dtype

    def decorate(function: Any) -> Any:
        if isinstance(function, type):
            return lambda *a, **k: _calls(_once(function, a, k), function.__name__, kind, convert)
        return _calls(lambda: function, function.__name__, kind, convert)

    return decorate


def _once(cls: type, args: tuple, kwargs: dict[Any, Any]) -> Callable[[], Any]:
    """Builds the object when it is first needed, once in each process."""
    key = uuids.uuid4().hex

    def get() -> Any:
        if key not in _built:
            _built[key] = cls(*args, **kwargs)
        return _built[key]

    return get


_built: dict[Any, Any] = {}


def _calls(get_function: Callable[[], Any], name: Any, kind: Any, convert: Any) -> Callable[..., Expr]:
    def call(*args: Any, **kwargs: Any) -> Expr:
        parts = [a for a in [*args, *kwargs.values()] if isinstance(a, Expr)]

        def compute(get: Any) -> Any:
            if not isinstance(get, Values):
                raise NotImplementedError(f"{name} cannot be computed by a data source")
            plain = [convert(a._compute(get)) if isinstance(a, Expr) else a for a in args]
            named = {k: convert(a._compute(get)) if isinstance(a, Expr) else a for k, a in kwargs.items()}
            made = columns_of.to_arrow(get_function()(*plain, **named))
            return made if kind is None or made.type == kind else made.cast(kind)

        read = frozenset().union(*(p.columns for p in parts)) if parts else frozenset()
        made = Expr(compute, f"{name}({', '.join(map(repr, args))})", read)
        made.needs_rows = True
        return made

    return call


def download(uri_column_name: Any, *, filesystem: Any = None) -> Expr:
    """The bytes behind the URIs in a column; null where they cannot be read."""
    from concurrent.futures import ThreadPoolExecutor

    from narke.data.datasource.paths import resolve

    def fetch(uri: Any) -> bytes | None:
        if uri is None:
            return None
        try:
            system, path = resolve(uri, filesystem)
            with system.open_input_stream(path) as stream:
                return stream.read()
        except OSError:
            return None

    def compute(values: Any) -> pa.Array:
        with ThreadPoolExecutor(DOWNLOADS) as pool:
            return pa.array(list(pool.map(fetch, values(uri_column_name).to_pylist())), pa.binary())

    made = _of_rows(compute, f"download({uri_column_name!r})")
    made.columns = frozenset({uri_column_name})
    return made


DOWNLOADS = 16


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
