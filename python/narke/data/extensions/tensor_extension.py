"""Columns of tensors in pandas."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray, ExtensionDtype, register_extension_dtype

from narke.data import columns
from narke.data.tensor_types import (
    ArrowConversionError,
    ArrowTensorArray,
    ArrowTensorType,
    ArrowVariableShapedTensorArray,
    ArrowVariableShapedTensorType,
)

__all__ = [
    "ArrowConversionError",
    "ArrowTensorArray",
    "ArrowTensorType",
    "ArrowVariableShapedTensorArray",
    "ArrowVariableShapedTensorType",
    "TensorArray",
    "TensorArrayElement",
    "TensorDtype",
    "column_needs_tensor_extension",
]
_NAME = re.compile(r"TensorDtype\(shape=\((?P<shape>[^)]*)\), dtype=(?P<dtype>\w+)\)")
OPERATORS = "add sub mul truediv floordiv mod pow and or xor eq ne lt le gt ge".split()


@register_extension_dtype
class TensorDtype(ExtensionDtype):
    """Tensors of a shape, which has None where it differs.

    Args:
        shape: of one tensor. dtype: numpy's, of the elements.
    """

    def __init__(self, shape: tuple[int | None, ...], dtype: Any):
        self._shape, self._dtype = tuple(shape), np.dtype(dtype)

    @property
    def type(self) -> Any:  # type: ignore[override]
        """Class of one element."""
        return TensorArrayElement

    @property
    def element_dtype(self) -> np.dtype:
        """Numpy's type of the elements of tensors."""
        return self._dtype

    @property
    def element_shape(self) -> tuple[int | None, ...]:
        """Shape of one tensor."""
        return self._shape

    @property
    def is_variable_shaped(self) -> bool:
        """Whether shapes differ."""
        return bool(self._shape) and all(size is None for size in self._shape)

    @property
    def name(self) -> str:  # type: ignore[override]
        """How pandas calls it."""
        return f"TensorDtype(shape={self._shape}, dtype={self._dtype})"

    @classmethod
    def construct_from_string(cls, string: str) -> TensorDtype:
        """The type of that name.

        Raises:
            TypeError: it is no such name.
        """
        found = _NAME.fullmatch(string) if isinstance(string, str) else None
        if found is None:
            raise TypeError(f"cannot construct a {cls.__name__} from {string!r}")
        sizes = [part.strip() for part in found["shape"].split(",") if part.strip()]
        return cls(tuple(None if size == "None" else int(size) for size in sizes), found["dtype"])

    @classmethod
    def construct_array_type(cls) -> Any:
        """Its arrays."""
        return TensorArray

    def __from_arrow__(self, array: Any) -> TensorArray:
        return TensorArray(columns.to_numpy(array))


def _operand(value: Any) -> Any:
    return value._tensor if isinstance(value, (TensorArray, TensorArrayElement)) else value


def _binary(name: str) -> Callable[[Any, Any], Any]:
    function = getattr(operator, f"__{name}__")

    def apply(self: Any, other: Any) -> Any:
        if isinstance(other, (pd.Series, pd.DataFrame, pd.Index)):
            return NotImplemented
        return type(self)(function(self._tensor, _operand(other)))

    return apply


class _Tensors:
    """What arrays of tensors and single tensors share: numpy's operators, and what is known of the elements."""

    _tensor: np.ndarray

    @property
    def numpy_dtype(self) -> np.dtype:
        """Numpy's type of the elements."""
        return self._tensor.dtype

    @property
    def numpy_ndim(self) -> int:
        """Dimensions."""
        return self._tensor.ndim

    @property
    def numpy_shape(self) -> tuple[int, ...]:
        """Sizes."""
        return self._tensor.shape

    @property
    def numpy_size(self) -> int:
        """Number of elements."""
        return self._tensor.size

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._tensor, dtype=dtype) if copy else np.asarray(self._tensor, dtype=dtype)

    def __repr__(self) -> str:
        return repr(self._tensor)


class TensorArrayElement(_Tensors):
    """One tensor of a column."""

    def __init__(self, values: np.ndarray):
        self._tensor = np.asarray(values)

    def to_numpy(self) -> np.ndarray:
        """As numpy's array."""
        return self._tensor

    def __float__(self) -> float:
        return float(self._tensor.item())

    def __int__(self) -> int:
        return int(self._tensor.item())

    __hash__ = None  # type: ignore[assignment]


class TensorArray(_Tensors, ExtensionArray):
    """A column of tensors.

    Args:
        values: an array (rows first), or a sequence of arrays or single tensors, of one shape or not.
    """

    def __init__(self, values: Any):
        if isinstance(values, TensorArray):
            raise TypeError("use copy() to make a TensorArray of another")
        self._tensor = _as_tensor(values)

    @classmethod
    def _from_sequence(cls, scalars: Any, *, dtype: Any = None, copy: bool = False) -> TensorArray:
        return cls(_operand(scalars))

    @classmethod
    def _concat_same_type(cls, to_concat: Any) -> TensorArray:
        parts = [part._tensor for part in to_concat]
        if len({part.shape[1:] for part in parts}) == 1 and all(part.dtype != object for part in parts):
            return cls(np.concatenate(parts))
        return cls([tensor for part in parts for tensor in part])

    @property
    def is_variable_shaped(self) -> bool:
        """Whether shapes differ."""
        return self._tensor.dtype == object

    @property
    def dtype(self) -> TensorDtype:
        """The type of pandas."""
        if not self.is_variable_shaped:
            return TensorDtype(self._tensor.shape[1:], self._tensor.dtype)
        first = next((tensor for tensor in self._tensor if tensor is not None), np.empty(0))
        return TensorDtype((None,) * first.ndim, first.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        if self.is_variable_shaped:
            return sum(tensor.nbytes for tensor in self._tensor if tensor is not None)
        return self._tensor.nbytes

    def __len__(self) -> int:
        return len(self._tensor)

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, (int, np.integer)):
            return TensorArrayElement(self._tensor[item])
        if isinstance(item, (list, pd.api.extensions.ExtensionArray, np.ndarray)):
            item = pd.api.indexers.check_array_indexer(self, item)
        return TensorArray(self._tensor[item])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._tensor[key] = _operand(value)

    def __contains__(self, item: Any) -> bool:
        if item is None or (np.isscalar(item) and pd.isna(item)):
            return bool(self.isna().any())
        return any(np.array_equal(tensor, _operand(item)) for tensor in self._tensor)

    def isna(self) -> np.ndarray:
        """True where a tensor is None, or all of it is NaN."""
        if self.is_variable_shaped:
            return np.array([tensor is None for tensor in self._tensor], bool)
        if self._tensor.dtype.kind != "f":
            return np.zeros(len(self), bool)
        return np.isnan(self._tensor).all(axis=tuple(range(1, self._tensor.ndim)))

    def take(self, indices: Any, allow_fill: bool = False, fill_value: Any = None) -> TensorArray:
        """Tensors by number.

        Args:
            allow_fill: -1 stands for a missing one, which is `fill_value`, NaN by default.
        """
        places = np.asarray(indices, dtype=np.int64)
        if not allow_fill:
            return TensorArray(self._tensor[places])
        if (places < -1).any() or (places >= len(self)).any():
            raise ValueError("take: a number is outside the array, or below -1")
        missing = places == -1
        if not missing.any():
            return TensorArray(self._tensor[places])
        shape = (len(places), *self._tensor.shape[1:])
        filled = np.full(shape, np.nan if fill_value is None else _operand(fill_value))
        if not missing.all():
            filled = filled.astype(np.result_type(filled, self._tensor))
            filled[~missing] = self._tensor[places[~missing]]
        return TensorArray(filled)

    def copy(self) -> TensorArray:
        """Tensors of its own."""
        return TensorArray(self._tensor.copy())

    def to_numpy(
        self, dtype: Any = None, copy: bool = False, na_value: Any = pd.api.extensions.no_default
    ) -> np.ndarray:
        """As numpy's array, rows first; of objects where shapes differ."""
        made = self._tensor.astype(dtype) if dtype is not None else self._tensor
        if na_value is not pd.api.extensions.no_default:
            made = made.copy()
            made[self.isna()] = na_value
        return made.copy() if copy and made is self._tensor else made

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """As another type: one of tensors, or numpy's objects, texts, or elements."""
        if isinstance(dtype, TensorDtype):
            return (
                TensorArray(self._tensor.astype(dtype.element_dtype))
                if not self.is_variable_shaped
                else self.copy()
            )
        kind = pd.api.types.pandas_dtype(dtype)
        if isinstance(kind, np.dtype):
            return (
                columns.object_array(list(self._tensor))
                if kind.kind == "O"
                else self._tensor.astype(kind, copy=copy)
            )
        made = kind.construct_array_type()
        return made._from_sequence([str(tensor) for tensor in self._tensor], dtype=kind)

    def all(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        """Whether all elements are true; see `numpy.all`."""
        return _reduced(self._tensor.all(axis=axis, out=out, keepdims=keepdims))

    def any(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        """Whether any element is true; see `numpy.any`."""
        return _reduced(self._tensor.any(axis=axis, out=out, keepdims=keepdims))

    def _reduce(self, name: str, *, skipna: bool = True, keepdims: bool = False, **kwargs: Any) -> Any:
        names = "sum min max mean std var median prod all any".split()
        known: dict[str, Any] = {kind: getattr(np, kind) for kind in names}
        if name not in known:
            raise TypeError(f"tensors have no {name!r}")
        return TensorArrayElement(known[name](self._tensor, axis=0))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, (pd.Series, pd.DataFrame, pd.Index)) for value in inputs):
            return NotImplemented
        made = getattr(ufunc, method)(*(_operand(value) for value in inputs), **kwargs)
        return tuple(map(_reduced, made)) if isinstance(made, tuple) else _reduced(made)

    def __arrow_array__(self, type: Any = None) -> Any:
        return columns.to_arrow(self._tensor)

    def _formatter(self, boxed: bool = False) -> Callable[[Any], str]:
        return lambda value: str(_operand(value))

    __hash__ = None  # type: ignore[assignment]


for _name in OPERATORS:
    for _class in (TensorArray, TensorArrayElement):
        setattr(_class, f"__{_name}__", _binary(_name))


def _reduced(made: Any) -> Any:
    return TensorArray(made) if isinstance(made, np.ndarray) and made.ndim else made


def _as_tensor(values: Any) -> np.ndarray:
    if isinstance(values, np.ndarray) and values.dtype != object:
        return values if values.ndim else values.reshape(1)
    parts = [None if value is None else np.asarray(_operand(value)) for value in values]
    shapes = {None if part is None else part.shape for part in parts}
    return np.stack(parts) if len(shapes) == 1 and None not in shapes else columns.object_array(parts)  # type: ignore[arg-type]


def column_needs_tensor_extension(s: Any) -> bool:
    """Whether a Series holds arrays that are not in a `TensorArray` yet."""
    return s.dtype == object and len(s) > 0 and isinstance(s.iloc[0], np.ndarray)
