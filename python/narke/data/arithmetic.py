"""Operators of expressions that Arrow has no function of its own for, and those that pandas has other rules for."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

Arrow = Any


def add(left: Arrow, right: Arrow) -> Arrow:
    """The sum; of texts, one after the other.

    Raises:
        TypeError: only one of them is a text.
    """
    if not (_is_text(left) or _is_text(right)):
        return pc.add(left, right)
    return pc.binary_join_element_wise(_as_text(left, right), _as_text(right, left), "")


def _is_text(value: Arrow) -> bool:
    kind = getattr(value, "type", None)  # expressions of data sources have none, and never add texts
    kind = kind.value_type if isinstance(kind, pa.DictionaryType) else kind
    return kind in (pa.string(), pa.large_string())


def _as_text(value: Arrow, beside: Arrow) -> Arrow:
    if not _is_text(value):
        raise TypeError(
            f"cannot add {value.type} to {beside.type}: cast one of them, e.g. by .cast(pa.string())"
        )
    plain = not isinstance(value.type, pa.DictionaryType)
    kind = pa.large_string() if pa.large_string() in (value.type, beside.type) else pa.string()
    return value if plain and value.type == kind else value.cast(kind)


def cast(value: Arrow, kind: pa.DataType, safe: bool) -> Arrow:
    """As another type; `safe` refuses to lose digits."""
    if isinstance(value, pc.Expression):
        return value.cast(kind, safe=safe)
    return pc.cast(value, kind, safe=safe)


def floor_divide(left: Arrow, right: Arrow) -> Arrow:
    """The quotient's floor. Arrow's quotient of whole numbers is whole already, cut off towards zero."""
    return pc.floor(pc.divide(left, right))


def modulo(left: Arrow, right: Arrow) -> Arrow:
    """What `floor_divide` leaves."""
    return pc.subtract(left, pc.multiply(floor_divide(left, right), right))


def by_pandas(function: Callable[[Any, Any], Any]) -> Callable[[Arrow, Arrow], Arrow]:
    """A function of two operands, applied to them as pandas sees them."""

    def apply(left: Arrow, right: Arrow) -> Arrow:
        made = function(_to_pandas(left), _to_pandas(right))
        return pa.Array.from_pandas(made) if hasattr(made, "index") else pa.scalar(made)

    return apply


def _to_pandas(value: Arrow) -> Any:
    return value.as_py() if isinstance(value, pa.Scalar) else value.to_pandas()


PANDAS_DIVISION = {
    "div": by_pandas(operator.truediv),
    "floordiv": by_pandas(operator.floordiv),
    "mod": by_pandas(operator.mod),
}
