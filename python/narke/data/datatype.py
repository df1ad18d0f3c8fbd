"""Types of columns: one name for those of Arrow, numpy and Python."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import Any

import numpy as np
import pyarrow as pa

from narke.data import columns, tensor_types

PYARROW_TYPE_DEFINITIONS = {
    "int8": pa.int8, "int16": pa.int16, "int32": pa.int32, "int64": pa.int64, "uint8": pa.uint8, "uint16": pa.uint16,
    "uint32": pa.uint32, "uint64": pa.uint64, "float32": pa.float32, "float64": pa.float64, "string": pa.string,
    "bool": pa.bool_, "binary": pa.binary,
}  # fmt: skip
_OF_PYTHON = {
    int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_(), bytes: pa.binary(),
    datetime.datetime: pa.timestamp("us"), datetime.date: pa.date32(),
}  # fmt: skip


class TypeCategory(str, enum.Enum):
    """Kinds of types with parts or units."""

    LIST = "list"
    LARGE_LIST = "large_list"
    STRUCT = "struct"
    MAP = "map"
    TENSOR = "tensor"
    TEMPORAL = "temporal"


@dataclasses.dataclass(frozen=True)
class DataType:
    """A type; `DataType.int64()` and the like make them, `from_arrow`, `from_numpy` and `from_dtype` take others'.

    Args:
        _physical_dtype: a pyarrow.DataType, a numpy.dtype, a Python type, or None for any type.
    """

    _physical_dtype: Any = None

    @classmethod
    def from_arrow(cls, arrow_type: pa.DataType) -> DataType:
        """Of an Arrow type."""
        return cls(arrow_type)

    @classmethod
    def from_numpy(cls, numpy_dtype: Any) -> DataType:
        """Of a numpy dtype or its name."""
        return cls(np.dtype(numpy_dtype))

    @classmethod
    def from_dtype(cls, dtype: Any) -> DataType:
        """Of a type of Arrow, numpy, or Python."""
        if isinstance(dtype, cls):
            return dtype
        if isinstance(dtype, (pa.DataType, type)) and not issubclass_of_numpy(dtype):
            return cls(dtype)
        return cls.from_numpy(dtype)

    @classmethod
    def infer_dtype(cls, value: Any) -> DataType:
        """Of a value."""
        if isinstance(value, (np.ndarray, np.generic)):
            return cls(value.dtype)
        try:
            return cls(pa.scalar(value).type)
        except pa.ArrowInvalid:
            return cls(type(value))

    @classmethod
    def list(cls, value_type: DataType) -> DataType:
        """Lists."""
        return cls(pa.list_(value_type.to_arrow_dtype()))

    @classmethod
    def large_list(cls, value_type: DataType) -> DataType:
        """Lists with offsets of 64 bits."""
        return cls(pa.large_list(value_type.to_arrow_dtype()))

    @classmethod
    def fixed_size_list(cls, value_type: DataType, list_size: int) -> DataType:
        """Lists of one length."""
        return cls(pa.list_(value_type.to_arrow_dtype(), list_size))

    @classmethod
    def struct(cls, fields: Any) -> DataType:
        """Structs of (name, type)."""
        return cls(pa.struct([(name, kind.to_arrow_dtype()) for name, kind in fields]))

    @classmethod
    def map(cls, key_type: DataType, value_type: DataType) -> DataType:
        """Maps."""
        return cls(pa.map_(key_type.to_arrow_dtype(), value_type.to_arrow_dtype()))

    @classmethod
    def tensor(cls, shape: tuple[int, ...], dtype: DataType) -> DataType:
        """Tensors of one shape."""
        return cls(pa.fixed_shape_tensor(dtype.to_arrow_dtype(), shape))

    @classmethod
    def variable_shaped_tensor(cls, dtype: DataType, ndim: int = 2) -> DataType:
        """Tensors of as many dimensions each and differing shapes."""
        return cls(tensor_types.ArrowVariableShapedTensorType(dtype.to_arrow_dtype(), ndim))

    @classmethod
    def temporal(cls, temporal_type: str, unit: str | None = None, tz: str | None = None) -> DataType:
        """Times: "timestamp" (unit, tz), "date32", "date64", "time32", "time64" or "duration" (unit).

        Raises:
            ValueError: there is no such type.
        """
        makers = {
            "timestamp": lambda: pa.timestamp(unit or "us", tz),
            "date32": pa.date32,
            "date64": pa.date64,
            "time32": lambda: pa.time32(unit or "s"),
            "time64": lambda: pa.time64(unit or "us"),
            "duration": lambda: pa.duration(unit or "us"),
        }
        if temporal_type not in makers:
            raise ValueError(f"temporal_type must be one of {sorted(makers)}, not {temporal_type!r}")
        return cls(makers[temporal_type]())

    def to_arrow_dtype(self, values: Any = None) -> pa.DataType:
        """As Arrow's; `values` show it where it is not known."""
        kind = self._physical_dtype
        if isinstance(kind, pa.DataType):
            return kind
        if isinstance(kind, np.dtype):
            return pa.string() if kind.kind in "US" else pa.from_numpy_dtype(kind)
        if kind in _OF_PYTHON:
            return _OF_PYTHON[kind]
        if values is not None:
            return pa.array(values).type
        raise TypeError(f"{self} has no type of Arrow's: give values that show it")

    def to_numpy_dtype(self) -> np.dtype:
        """As numpy's; objects where numpy has none."""
        if isinstance(self._physical_dtype, np.dtype):
            return self._physical_dtype
        try:
            return np.dtype(self.to_arrow_dtype().to_pandas_dtype())
        except (NotImplementedError, TypeError):
            return np.dtype(object)

    def to_python_type(self) -> type:
        """As Python's.

        Raises:
            ValueError: it is no type of Python's.
        """
        if not self.is_python_type():
            raise ValueError(f"{self} is not a type of Python's")
        return self._physical_dtype

    def is_arrow_type(self) -> bool:
        """Whether it was made of Arrow's."""
        return isinstance(self._physical_dtype, pa.DataType)

    def is_numpy_type(self) -> bool:
        """Whether it was made of numpy's."""
        return isinstance(self._physical_dtype, np.dtype)

    def is_python_type(self) -> bool:
        """Whether it was made of Python's."""
        return isinstance(self._physical_dtype, type)

    def _is(self, *checks: Any) -> bool:
        try:
            kind = self.to_arrow_dtype()
        except TypeError:
            return False
        return any(check(kind) for check in checks)

    def is_list_type(self) -> bool:
        """Whether it is lists."""
        return self._is(pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)

    def is_tensor_type(self) -> bool:
        """Whether it is tensors."""
        return self._is(columns.is_tensor)

    def is_struct_type(self) -> bool:
        """Whether it is structs."""
        return self._is(pa.types.is_struct)

    def is_map_type(self) -> bool:
        """Whether it is maps."""
        return self._is(pa.types.is_map)

    def is_nested_type(self) -> bool:
        """Whether it has parts."""
        return self._is(pa.types.is_nested)

    def is_numerical_type(self) -> bool:
        """Whether it is numbers."""
        return self._is(pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)

    def is_integer_type(self) -> bool:
        """Whether it is integers."""
        return self._is(pa.types.is_integer)

    def is_floating_type(self) -> bool:
        """Whether it is floating point numbers."""
        return self._is(pa.types.is_floating)

    def is_boolean_type(self) -> bool:
        """Whether it is booleans."""
        return self._is(pa.types.is_boolean)

    def is_string_type(self) -> bool:
        """Whether it is text."""
        return self._is(pa.types.is_string, pa.types.is_large_string)

    def is_binary_type(self) -> bool:
        """Whether it is bytes."""
        return self._is(pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)

    def is_temporal_type(self) -> bool:
        """Whether it is times."""
        return self._is(pa.types.is_temporal)

    def is_null_type(self) -> bool:
        """Whether it is nulls."""
        return self._is(pa.types.is_null)

    def is_uint64_type(self) -> bool:
        """Whether it is unsigned integers of 64 bits."""
        return self._is(pa.types.is_uint64)

    def is_of(self, category: TypeCategory | str) -> bool:
        """Whether it is of a category."""
        checks = {
            TypeCategory.LIST: self.is_list_type,
            TypeCategory.LARGE_LIST: lambda: self._is(pa.types.is_large_list),
            TypeCategory.STRUCT: self.is_struct_type,
            TypeCategory.MAP: self.is_map_type,
            TypeCategory.TENSOR: self.is_tensor_type,
            TypeCategory.TEMPORAL: self.is_temporal_type,
        }
        return checks[TypeCategory(category)]()

    def __repr__(self) -> str:
        kind = self._physical_dtype
        if isinstance(kind, type):
            return f"DataType(python:{kind.__name__})"
        return f"DataType({'numpy' if isinstance(kind, np.dtype) else 'arrow'}:{kind})"


def issubclass_of_numpy(dtype: Any) -> bool:
    """Whether it is a scalar class of numpy's, such as `numpy.int32`."""
    return isinstance(dtype, type) and issubclass(dtype, np.generic)


def _maker(make: Any, name: str) -> classmethod:
    def of(cls: type[DataType]) -> DataType:
        return cls(make())

    of.__name__, of.__doc__ = name, f"Arrow's {name}."
    return classmethod(of)


for _name, _make in PYARROW_TYPE_DEFINITIONS.items():
    setattr(DataType, _name, _maker(_make, _name))


def arrow_type(kind: Any) -> Any:
    """A `DataType` as Arrow's; others as they are."""
    return kind.to_arrow_dtype() if isinstance(kind, DataType) else kind


def castable(kind: Any) -> pa.DataType:
    """The type that values are cast to.

    Raises:
        TypeError: it is none of a column's.
    """
    if isinstance(kind, DataType) and kind.is_python_type():
        raise TypeError(
            f"Python-type-backed DataType {kind!r} requires values to show Arrow's: name that one"
        )
    made = arrow_type(kind)
    if not isinstance(made, pa.DataType):
        raise TypeError(f"cast: a type such as DataType.int64() or pa.int64() is needed, not {kind!r}")
    return made
