"""Expressions over columns, evaluated by Arrow: ``col("x") > 3``, or the same as text in `Dataset.filter`."""

from __future__ import annotations

import enum
import functools
import uuid as uuids
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from narke.data import columns as columns_of
from narke.data.arithmetic import add, cast, floor_divide, modulo
from narke.data.datatype import DataType, arrow_type, castable
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
Decorated = Any
UDFCallable = Callable[..., "UDFExpr"]
DEFAULT_RESEED_AFTER_EXECUTION = True
DOWNLOADS = 16


class Operation(str, enum.Enum):
    """What two values, or one, are combined by."""

    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"
    MOD = "mod"
    FLOORDIV = "floordiv"
    GT = "gt"
    LT = "lt"
    GE = "ge"
    LE = "le"
    EQ = "eq"
    NE = "ne"
    AND = "and"
    OR = "or"
    NOT = "not"
    IS_NULL = "is_null"
    IS_NOT_NULL = "is_not_null"
    IN = "in"
    NOT_IN = "not_in"


class Expr:
    """A value per row. Build with `col` and `lit`, combine with Python's operators and the methods below.

    Args:
        data_type: of its values, when it is known without a schema.
    """

    __hash__ = None  # type: ignore[assignment]
    data_type: DataType
    parts: tuple[Expr, ...] = ()

    def __init__(self, data_type: DataType | None = None):
        self.data_type = DataType(object) if data_type is None else data_type

    def _compute(self, get: Callable[[str], Arrow]) -> Arrow:
        """The values, from a function "column by name"; works on data and on Arrow's own expressions."""
        raise NotImplementedError

    def _text(self) -> str:
        """How it is shown."""
        raise NotImplementedError

    @property
    def name(self) -> str | None:
        """Name of the column it makes, when it has one."""
        return None

    @property
    def columns(self) -> frozenset[str]:
        """Names that it reads."""
        return frozenset().union(*(part.columns for part in self.parts))

    @property
    def needs_rows(self) -> bool:
        """Whether it can only be computed over rows that are there, not by a data source."""
        return any(part.needs_rows for part in self.parts)

    def is_idempotent(self) -> bool:
        """Whether it has the same values whenever and wherever it is computed."""
        return all(part.is_idempotent() for part in self.parts)

    def __repr__(self) -> str:
        return self._text()

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

    def get_type(self, input_schema: pa.Schema) -> DataType | None:
        """Type of its values over rows of a schema; None when it reads a column that is not there."""
        if not self.columns <= set(input_schema.names):
            return None
        if self.data_type.is_arrow_type() and not pa.types.is_null(self.data_type.to_arrow_dtype()):
            return self.data_type
        return DataType.from_arrow(self.evaluate(input_schema.empty_table()).type)

    def nullable(self, input_schema: pa.Schema) -> bool:
        """Whether it may be null over rows of a schema."""
        return any(part.nullable(input_schema) for part in self.parts) if self.parts else True

    def to_field(self, input_schema: pa.Schema) -> pa.Field | None:
        """The column that it makes of rows of a schema; None when it has no name or type."""
        kind = self.get_type(input_schema)
        if self.name is None or kind is None:
            return None
        return pa.field(self.name, kind.to_arrow_dtype(), self.nullable(input_schema))

    def expand_projection(self, input_schema: pa.Schema | None) -> list[Expr]:
        """The expressions of one column each that it stands for; itself, but for `star` and `unnest`."""
        return [self]

    def alias(self, name: str) -> Expr:
        """The same under a name."""
        return AliasExpr(self.data_type, self, name, False)

    def _rename(self, name: str) -> Expr:
        return AliasExpr(self.data_type, self, name, True)

    def cast(self, target_type: Any, *, safe: bool = True) -> Expr:
        """Its values as another Arrow type; `safe` refuses to lose digits."""
        kind = castable(target_type)
        return self._then(lambda v: cast(v, kind, safe), f"cast({kind})")

    def structurally_equals(self, other: Any) -> bool:
        """Whether another expression is written the same."""
        return type(self) is type(other) and repr(self) == repr(other) and self.name == other.name

    def is_null(self) -> Expr:
        """True where it is null."""
        return UnaryExpr(Operation.IS_NULL, self)

    def is_not_null(self) -> Expr:
        """True where it is not null."""
        return UnaryExpr(Operation.IS_NOT_NULL, self)

    def is_in(self, values: Iterable[Any]) -> Expr:
        """True where it is one of `values`."""
        return BinaryExpr(Operation.IN, self, _listed(values))

    def not_in(self, values: Iterable[Any]) -> Expr:
        """True where it is none of `values`."""
        return BinaryExpr(Operation.NOT_IN, self, _listed(values))

    def power(self, exponent: Any) -> Expr:
        """It to the power of `exponent`."""
        return _power(self, exponent)

    def negate(self) -> Expr:
        """Minus it."""
        return self._then(pc.negate, "negate()")

    def _then(self, change: Callable[[Arrow], Arrow], text: str) -> Expr:
        """What a function of Arrow's makes of it."""
        return PyArrowComputeUDFExpr(None, change, [self], {}, pc_func=change, text=f"{self}.{text}")

    def __neg__(self) -> Expr:
        return self.negate()

    def __invert__(self) -> Expr:
        return UnaryExpr(Operation.NOT, self)


class ColumnExpr(Expr):
    """A column by name."""

    def __init__(self, _name: str):
        super().__init__()
        self._name = _name

    @property
    def name(self) -> str:
        return self._name

    @property
    def columns(self) -> frozenset[str]:
        return frozenset({self._name})

    def nullable(self, input_schema: pa.Schema) -> bool:
        return self._name not in input_schema.names or input_schema.field(self._name).nullable

    def to_field(self, input_schema: pa.Schema) -> pa.Field | None:
        return input_schema.field(self._name) if self._name in input_schema.names else None

    def _compute(self, get: Callable[[str], Arrow]) -> Arrow:
        return get(self._name)

    def _text(self) -> str:
        return f"col({self._name!r})"


class LiteralExpr(Expr):
    """One value for all rows."""

    value: Any

    def __init__(self, value: Any):
        super().__init__(DataType.infer_dtype(value))
        self.value = value

    def nullable(self, input_schema: pa.Schema) -> bool:
        return self.value is None

    def _compute(self, get: Callable[[str], Arrow]) -> Arrow:
        return pa.scalar(self.value)

    def _text(self) -> str:
        return f"lit({self.value!r})"


class AliasExpr(Expr):
    """An expression under a name.

    Args:
        data_type, expr: of what. _name: the name. _is_rename: the column takes the place of the one it is made of.
    """

    expr: Expr

    def __init__(self, data_type: DataType | None, expr: Expr, _name: str, _is_rename: bool = False):
        super().__init__(data_type)
        self.expr, self._name, self._is_rename, self.parts = expr, _name, _is_rename, (expr,)

    @property
    def name(self) -> str:
        return self._name

    def get_type(self, input_schema: pa.Schema) -> DataType | None:
        return self.expr.get_type(input_schema)

    def alias(self, name: str) -> Expr:
        return AliasExpr(self.data_type, self.expr, name, self._is_rename)

    def _compute(self, get: Callable[[str], Arrow]) -> Arrow:
        return self.expr._compute(get)

    def _text(self) -> str:
        return f"{self.expr}.alias({self._name!r})"


class UnaryExpr(Expr):
    """An operation on one value."""

    op: Operation
    operand: Expr

    def __init__(self, op: Operation, operand: Expr):
        truth = op in (Operation.NOT, Operation.IS_NULL, Operation.IS_NOT_NULL)
        super().__init__(DataType(pa.bool_()) if truth else None)
        self.op, self.operand, self.parts = op, operand, (operand,)

    def nullable(self, input_schema: pa.Schema) -> bool:
        return self.op is Operation.NOT and super().nullable(input_schema)

    def _compute(self, get: Callable[[str], Arrow]) -> Arrow:
        return _UNARY[self.op](self.operand._compute(get))

    def _text(self) -> str:
        return f"{self.operand}.{self.op.value}()"


class BinaryExpr(Expr):
    """An operation on two values."""

    op: Operation
    left: Expr
    right: Expr

    def __init__(self, op: Operation, left: Expr, right: Expr):
        super().__init__(DataType(pa.bool_()) if op in _TRUTHS else None)
        self.op, self.left, self.right, self.parts = op, left, right, (left, right)

    @property
    def needs_rows(self) -> bool:
        """Also where it may add texts: data sources add numbers only."""
        return super().needs_rows or (self.op is Operation.ADD and not _is_number(self))

    def _compute(self, get: Callable[[str], Arrow]) -> Arrow:
        if self.op in (Operation.IN, Operation.NOT_IN):
            known = pa.array(self.right.value)  # type: ignore[attr-defined]
            found = pc.is_in(self.left._compute(get), value_set=known)
            return found if self.op is Operation.IN else pc.invert(found)
        function = getattr(get, "division", {}).get(self.op.value, _BINARY[self.op][0])
        return function(self.left._compute(get), self.right._compute(get))

    def _text(self) -> str:
        if self.op in (Operation.IN, Operation.NOT_IN):
            return f"{self.left}.{'is_in' if self.op is Operation.IN else 'not_in'}({self.right})"
        return f"({self.left} {_BINARY[self.op][1]} {self.right})"


def _is_number(expr: Expr) -> bool:
    """Whether its values are surely no texts."""
    if isinstance(expr, BinaryExpr) and expr.op is Operation.ADD:
        return _is_number(expr.left) or _is_number(expr.right)
    if isinstance(expr, LiteralExpr):
        return not isinstance(expr.value, str) and expr.value is not None
    return isinstance(expr, BinaryExpr)


class StarExpr(Expr):
    """All columns."""

    def expand_projection(self, input_schema: pa.Schema | None) -> list[Expr]:
        return [self] if input_schema is None else [ColumnExpr(name) for name in input_schema.names]

    def to_field(self, input_schema: pa.Schema) -> None:
        return None

    def _text(self) -> str:
        return "star()"


class UnnestExpr(Expr):
    """The fields of a struct, a column each."""

    expr: Expr

    def __init__(self, expr: Expr):
        if isinstance(expr, (UnnestExpr, StarExpr)):
            raise TypeError(f"unnest: {expr} is several columns already")
        super().__init__()
        self.expr, self.parts = expr, (expr,)

    def alias(self, name: str) -> Expr:
        raise TypeError(f"{self} is several columns, which cannot have one name")

    def to_field(self, input_schema: pa.Schema) -> None:
        return None

    def expand_projection(self, input_schema: pa.Schema | None) -> list[Expr]:
        """An expression a field.

        Raises:
            ValueError: the type of the struct is not known, or it is none.
        """
        kind = None if input_schema is None else self.expr.get_type(input_schema)
        kind = self.expr.data_type if kind is None else kind
        if not kind.is_struct_type():
            raise ValueError(f"{self}: {self.expr} must be a struct of known type, not {kind}")
        return [self.expr.struct.field(f.name).alias(f.name) for f in kind.to_arrow_dtype()]  # type: ignore[attr-defined]

    def _text(self) -> str:
        return f"unnest({self.expr})"


class UDFExpr(Expr):
    """What a function of the user's makes of other expressions.

    Args:
        data_type: of the result; None: as the function gives it. fn: the function; takes and gives arrays.
        args, kwargs: its arguments; expressions stand for their values.
    """

    fn: Any
    args: list[Any]
    kwargs: dict[str, Any]

    def __init__(self, data_type: DataType | None, fn: Any, args: Any, kwargs: dict[str, Any]):
        super().__init__(data_type)
        self._kind = None if data_type is None else data_type.to_arrow_dtype()
        self.fn, self.args, self.kwargs = fn, list(args), dict(kwargs)
        self.parts = tuple(a for a in [*self.args, *self.kwargs.values()] if isinstance(a, Expr))

    @property
    def callable_class_spec(self) -> Any:
        """(class, arguments, keyword arguments) when the function is an object that is built where it is used."""
        return getattr(self.fn, "spec", None)

    @property
    def needs_rows(self) -> bool:
        return True

    def _values(self, get: Any, convert: Callable[[Any], Any]) -> Any:
        if not isinstance(get, Values):
            raise NotImplementedError(f"{self} cannot be computed by a data source")
        plain = [convert(a._compute(get)) if isinstance(a, Expr) else a for a in self.args]
        named = {k: convert(a._compute(get)) if isinstance(a, Expr) else a for k, a in self.kwargs.items()}
        made = columns_of.to_arrow(self.fn(*plain, **named))
        return made if self._kind is None or made.type == self._kind else made.cast(self._kind)

    def _compute(self, get: Callable[[str], Arrow]) -> Arrow:
        return self._values(get, columns_of.to_numpy)

    def _text(self) -> str:
        return f"{getattr(self.fn, '__name__', self.fn)}({', '.join(map(repr, self.args))})"


class PyArrowComputeUDFExpr(UDFExpr):
    """What a function over Arrow's values makes of other expressions.

    Args:
        data_type, fn, args, kwargs: see `UDFExpr`. pc_func: a function of `pyarrow.compute`, which data sources can
            apply, too, called with the values of `args`, `pc_positional` and `pc_kwargs`. text: how it is shown.
    """

    pc_func: Any
    pc_positional: tuple[Any, ...]
    pc_kwargs: dict[str, Any]

    def __init__(
        self,
        data_type: DataType | None,
        fn: Any,
        args: Any,
        kwargs: dict[str, Any],
        pc_func: Any = None,
        pc_positional: tuple[Any, ...] = (),
        pc_kwargs: dict[str, Any] | None = None,
        text: str | None = None,
    ):
        super().__init__(data_type, fn, args, kwargs)
        self.pc_func, self.pc_positional, self.pc_kwargs = pc_func, pc_positional, dict(pc_kwargs or {})
        self._shown = text

    @property
    def needs_rows(self) -> bool:
        return self.pc_func is None or any(part.needs_rows for part in self.parts)

    def _compute(self, get: Callable[[str], Arrow]) -> Arrow:
        if self.pc_func is None:
            return self._values(get, columns_of.one_chunk)
        values = [part._compute(get) for part in self.parts]
        return self.pc_func(*values, *self.pc_positional, **self.pc_kwargs)

    def _text(self) -> str:
        return self._shown or super()._text()


class _OfRows(Expr):
    """Base of expressions that need to know the rows, and of which each row has a value of its own."""

    @property
    def needs_rows(self) -> bool:
        return True

    def is_idempotent(self) -> bool:
        return False

    def nullable(self, input_schema: pa.Schema) -> bool:
        return False

    def _compute(self, get: Any) -> Arrow:
        if not isinstance(get, Values):
            raise NotImplementedError(f"{self} cannot be computed by a data source")
        return self._make(get)

    def _make(self, values: Values) -> pa.Array:
        raise NotImplementedError


class RandomExpr(_OfRows):
    """A random number from 0 to 1; a seed and the row's place decide it. See `random`."""

    seed: int | None
    reseed_after_execution: bool

    def __init__(
        self, seed: int | None = None, reseed_after_execution: bool = True, _instance_id: str | None = None
    ):
        super().__init__(DataType(pa.float64()))
        self.seed, self.reseed_after_execution = seed, reseed_after_execution
        self._instance_id = _instance_id or uuids.uuid4().hex

    def structurally_equals(self, other: Any) -> bool:
        return super().structurally_equals(other) and (self.seed is not None or self is other)

    def _make(self, values: Values) -> pa.Array:
        key = None if self.seed is None else [abs(self.seed), values.place]
        return pa.array(np.random.default_rng(key).random(values.rows))

    def _text(self) -> str:
        return f"random(seed={self.seed})"


class UUIDExpr(_OfRows):
    """A random UUID, as text."""

    def __init__(self) -> None:
        super().__init__(DataType(pa.string()))

    def structurally_equals(self, other: Any) -> bool:
        return self is other

    def _make(self, values: Values) -> pa.Array:
        return pa.array([str(uuids.uuid4()) for _ in range(values.rows)], pa.string())

    def _text(self) -> str:
        return "uuid()"


class MonotonicallyIncreasingIdExpr(_OfRows):
    """A number, growing within a block and different everywhere."""

    def __init__(self, _instance_id: str | None = None):
        super().__init__(DataType(pa.int64()))
        self._instance_id = _instance_id or uuids.uuid4().hex

    def _make(self, values: Values) -> pa.Array:
        return pa.array(np.arange(values.place, values.place + values.rows, dtype=np.int64))

    def _text(self) -> str:
        return "monotonically_increasing_id()"


class DownloadExpr(_OfRows):
    """The bytes behind the URIs in a column; see `download`."""

    uri_column_name: str
    filesystem: Any

    def __init__(self, uri_column_name: str, filesystem: Any = None):
        super().__init__(DataType(pa.binary()))
        self.uri_column_name, self.filesystem = uri_column_name, filesystem
        self.parts = (ColumnExpr(uri_column_name),)

    def nullable(self, input_schema: pa.Schema) -> bool:
        return True

    def _make(self, values: Values) -> pa.Array:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(DOWNLOADS) as pool:
            found = pool.map(self._fetch, values(self.uri_column_name).to_pylist())
            return pa.array(list(found), pa.binary())

    def _fetch(self, uri: str | None) -> bytes | None:
        from narke.data.datasource.paths import resolve

        if uri is None:
            return None
        try:
            system, path = resolve(uri, self.filesystem)
            with system.open_input_stream(path) as stream:
                return stream.read()
        except OSError:
            return None

    def _text(self) -> str:
        return f"download({self.uri_column_name!r})"


class Values:
    """What expressions see of a block: its columns by name, its number of rows, the place of its first row.

    Args:
        block, place: the block, and its first row's. division: functions to divide by in the place of Arrow's.
    """

    def __init__(self, block: pa.Table, place: int, division: Mapping[str, Any] | None = None):
        self._block, self.place, self.rows, self.division = block, place, block.num_rows, division or {}

    def dividing(self, division: Mapping[str, Any]) -> Values:
        """The same, divided by other functions."""
        return Values(self._block, self.place, division)

    def __call__(self, name: Any) -> Any:
        return self._block.column(name)


_UNARY: dict[Operation, Any] = {
    Operation.NOT: pc.invert,
    Operation.IS_NULL: pc.is_null,
    Operation.IS_NOT_NULL: pc.is_valid,
}
_BINARY: dict[Operation, tuple[Any, str]] = {
    Operation.ADD: (add, "+"),
    Operation.SUB: (pc.subtract, "-"),
    Operation.MUL: (pc.multiply, "*"),
    Operation.DIV: (pc.divide, "/"),
    Operation.FLOORDIV: (floor_divide, "//"),
    Operation.MOD: (modulo, "%"),
    Operation.AND: (pc.and_kleene, "&"),
    Operation.OR: (pc.or_kleene, "|"),
    Operation.EQ: (pc.equal, "=="),
    Operation.NE: (pc.not_equal, "!="),
    Operation.LT: (pc.less, "<"),
    Operation.LE: (pc.less_equal, "<="),
    Operation.GT: (pc.greater, ">"),
    Operation.GE: (pc.greater_equal, ">="),
}
_REFLECTED = "add sub mul truediv floordiv mod and or".split()
_COMPARISONS = "eq ne lt le gt ge".split()
_TRUTHS = {Operation(name) for name in ("and", "or", "in", "not_in", *_COMPARISONS)}


def _power(base: Any, exponent: Any) -> Expr:
    parts = [_as_expr(base), _as_expr(exponent)]
    return PyArrowComputeUDFExpr(
        None, pc.power, parts, {}, pc_func=pc.power, text=f"({parts[0]} ** {parts[1]})"
    )


def _install_operators() -> None:
    for name in (*_REFLECTED, *_COMPARISONS):
        op = Operation("div" if name == "truediv" else name)
        setattr(Expr, f"__{name}__", lambda a, b, op=op: BinaryExpr(op, a, _as_expr(b)))
        if name in _REFLECTED:
            setattr(Expr, f"__r{name}__", lambda a, b, op=op: BinaryExpr(op, _as_expr(b), a))
    Expr.__pow__ = lambda a, b: _power(a, b)  # type: ignore[operator,method-assign,attr-defined]
    Expr.__rpow__ = lambda a, b: _power(b, a)  # type: ignore[operator,method-assign,attr-defined]
    for name in "abs ceil floor round trunc exp ln log10 log2 sin cos tan asin acos atan sign".split():
        setattr(Expr, name, _method(name))


def _method(name: str) -> Callable[[Expr], Expr]:
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


def _as_expr(value: Any) -> Expr:
    return value if isinstance(value, Expr) else LiteralExpr(value)


def _listed(values: Any) -> LiteralExpr:
    given = getattr(values, "value", values)
    return LiteralExpr(list(getattr(given, "values", given) if not isinstance(given, dict) else given))


def col(name: str) -> Expr:
    """The column `name`."""
    return ColumnExpr(name)


def lit(value: Any) -> Expr:
    """One value for all rows."""
    return LiteralExpr(value)


def star() -> StarExpr:
    """All columns."""
    return StarExpr()


def unnest(expr: Expr) -> UnnestExpr:
    """The fields of a struct as columns, for `Dataset.with_columns`.

    Raises:
        TypeError: the expression is several columns already.
    """
    return UnnestExpr(expr)


def random(*, seed: int | None = None, reseed_after_execution: bool = True) -> Expr:
    """A random number from 0 to 1 for each row; a seed and the row's place decide it.

    `reseed_after_execution` is accepted for Ray's programs: without a seed every execution draws anew anyway.
    """
    return RandomExpr(seed, reseed_after_execution)


def uuid() -> Expr:
    """A random UUID for each row, as text."""
    return UUIDExpr()


def monotonically_increasing_id() -> Expr:
    """A number for each row, growing within a block and different everywhere; there are gaps."""
    return MonotonicallyIncreasingIdExpr()


def download(uri_column_name: str, *, filesystem: Any = None) -> Expr:
    """The bytes behind the URIs in a column; null where they cannot be read."""
    return DownloadExpr(uri_column_name, filesystem)


def udf(return_dtype: Any) -> Callable[[Any], Any]:
    """Decorator: a function of numpy arrays (or a class with such a `__call__`) that makes expressions when called.

    Args:
        return_dtype: type of the result, of Arrow or `DataType`.
    """
    return functools.partial(_decorated, UDFExpr, return_dtype)


def pyarrow_udf(return_dtype: Any) -> Callable[[Any], Any]:
    """Decorator: as `udf`, of Arrow arrays."""
    return functools.partial(_decorated, PyArrowComputeUDFExpr, return_dtype)


def _decorated(cls: Any, return_dtype: Any, function: Any) -> Any:
    kind = None if return_dtype is None else DataType(arrow_type(return_dtype))
    if isinstance(function, type):
        return lambda *a, **k: functools.partial(_applied, cls, kind, _Built(function, a, k))
    return functools.partial(_applied, cls, kind, function)


def _applied(cls: Any, kind: DataType | None, function: Any, /, *args: Any, **kwargs: Any) -> Expr:
    return cls(kind, function, args, kwargs)


class _Built:
    """An object that is built when it is first called, once in each process."""

    def __init__(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]):
        self.spec, self.__name__ = (cls, args, kwargs), cls.__name__
        self._key = uuids.uuid4().hex

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._key not in _built:
            cls, own_args, own_kwargs = self.spec
            _built[self._key] = cls(*own_args, **own_kwargs)
        return _built[self._key](*args, **kwargs)


_built: dict[str, Any] = {}


def is_rename_expr(expr: Expr) -> bool:
    """Whether it is a column under another name that takes its place."""
    return isinstance(expr, AliasExpr) and expr._is_rename and isinstance(expr.expr, ColumnExpr)


def expand_star_exprs(exprs: list[Expr], input_schema: pa.Schema | None) -> list[Expr]:
    """A list of expressions in which `star` is the columns of a schema, renamed ones in their places."""
    if input_schema is None or not any(isinstance(expr, StarExpr) for expr in exprs):
        return exprs
    renamed = {e.expr.name: e for e in exprs if is_rename_expr(e) and e.expr.name in input_schema.names}  # type: ignore[attr-defined]
    made: list[Expr] = []
    for expr in exprs:
        if isinstance(expr, StarExpr):
            made.extend(renamed.get(name, ColumnExpr(name)) for name in input_schema.names)
        elif not any(expr is other for other in renamed.values()):
            made.append(expr)
    return made


def expand_projection_exprs(exprs: list[Expr], input_schema: pa.Schema | None) -> list[Expr]:
    """A list of expressions of one column each, in which those of several are taken apart."""
    return [one for expr in exprs for one in expr.expand_projection(input_schema)]


def exprlist_to_fields(exprs: list[Expr], input_schema: pa.Schema) -> list[pa.Field] | None:
    """The columns that expressions make of rows of a schema, the last of each name; None when one is not known."""
    made: dict[str, pa.Field] = {}
    for expr in expand_projection_exprs(expand_star_exprs(exprs, input_schema), input_schema):
        field = expr.to_field(input_schema)
        if field is None:
            return None
        made[field.name] = field
    return list(made.values())
