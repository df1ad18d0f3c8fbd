"""Batches and rows of a single column, which older programs take for the column itself: ``batch * 2``, ``row > 3``.

Before Ray 2.5 a dataset of numbers had no columns: functions saw arrays and numbers. Programs of that time work here
because a dict of one column has the operators of its value, where a plain dict would raise TypeError.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

_BINARY = (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "xor",
    "lshift",
    "rshift",
)
_COMPARISONS = ("lt", "le", "gt", "ge")
_UNARY = ("neg", "pos", "abs", "invert")


class Single:
    """Mixin of dicts: the operators of the only value. A dict of several columns has none of them."""

    def _only(self) -> Any:
        if len(self) == 1:  # type: ignore[arg-type]
            return next(iter(self.values()))  # type: ignore[attr-defined]
        raise TypeError(
            f"this is a dict of the columns {list(self)}: choose one of them by name"  # type: ignore[call-overload]
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._only(), dtype=dtype) if copy else np.asarray(self._only(), dtype=dtype)

    def __dlpack__(self, **options: Any) -> Any:  # by which torch.tensor() takes it
        return _writable(self._only()).__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return _writable(self._only()).__dlpack_device__()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the column."""
        return np.shape(self._only())

    def __float__(self) -> float:
        return float(self._only())

    def __int__(self) -> int:
        return int(self._only())


def _writable(values: Any) -> np.ndarray:
    array = np.asarray(values)
    return array if array.flags.writeable else array.copy()


def _value(other: Any) -> Any:
    return other._only() if isinstance(other, Single) else other


def _forward(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda self, other: function(self._only(), _value(other)) if len(self) == 1 else NotImplemented


def _reflected(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda self, other: function(_value(other), self._only()) if len(self) == 1 else NotImplemented


def _install() -> None:
    for name in (*_BINARY, *_COMPARISONS):
        function = getattr(operator, f"__{name}__")
        setattr(Single, f"__{name}__", _forward(function))
        if name in _BINARY:
            setattr(Single, f"__r{name}__", _reflected(function))
    for name in _UNARY:
        function = getattr(operator, f"__{name}__")
        setattr(Single, f"__{name}__", lambda self, f=function: f(self._only()))


_install()


class SingleBatch(Single, dict):
    """A batch of one column."""


class SingleRow(Single, dict):
    """A row of one column."""
