"""Arrow's types for tensors that Arrow itself has none for, by the names under which Ray writes them to files.

Tensors of one shape have a type of Arrow's own, which is used here; `ArrowTensorType` and `ArrowTensorTypeV2` are how
Ray's files hold them. Tensors of one number of dimensions and differing shapes are `ArrowVariableShapedTensorType`.
What the types say of themselves in files is JSON; nothing of it is unpickled.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa


class TensorType(pa.ExtensionType):
    """Base of the types here. `shape` has None where it differs."""

    shape: tuple[int | None, ...]

    def __arrow_ext_class__(self) -> Any:
        raise NotImplementedError

    def __reduce__(self) -> Any:
        return type(self).__arrow_ext_deserialize__, (self.storage_type, self.__arrow_ext_serialize__())

    def to_pandas_dtype(self) -> Any:
        """The type of pandas."""
        from narke.data.extensions.tensor_extension import TensorDtype

        return TensorDtype(self.shape, np.dtype(self.value_type.to_pandas_dtype()))

    @property
    def value_type(self) -> pa.DataType:
        """Type of the elements."""
        raise NotImplementedError


class _OneShape(TensorType):
    _name = ""
    _lists: Any = None

    def __init__(self, shape: tuple[int, ...], dtype: pa.DataType):
        self.shape = tuple(shape)
        super().__init__(self._lists(dtype), self._name)

    @property
    def value_type(self) -> pa.DataType:
        return self.storage_type.value_type

    def __arrow_ext_serialize__(self) -> bytes:
        return json.dumps(list(self.shape)).encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Any:
        return cls(tuple(_from_json(serialized)), storage_type.value_type)

    def __arrow_ext_class__(self) -> Any:
        return ArrowTensorArray

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (other.shape, other.value_type) == (self.shape, self.value_type)  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((self._name, self.shape, str(self.value_type)))


class ArrowTensorType(_OneShape):
    """Tensors of one shape as lists, up to 2 GB in all."""

    _name, _lists = "ray.data.arrow_tensor", staticmethod(pa.list_)


class ArrowTensorTypeV2(_OneShape):
    """Tensors of one shape as lists with offsets of 64 bits."""

    _name, _lists = "ray.data.arrow_tensor_v2", staticmethod(pa.large_list)


class ArrowVariableShapedTensorType(TensorType):
    """Tensors of as many dimensions each and differing shapes.

    Args:
        dtype: of the elements. ndim: dimensions.
    """

    ndim: int

    def __init__(self, dtype: pa.DataType, ndim: int):
        self.ndim = ndim
        parts = [("data", pa.large_list(dtype)), ("shape", pa.list_(pa.int64()))]
        super().__init__(pa.struct(parts), "ray.data.arrow_variable_shaped_tensor")

    @property
    def shape(self) -> tuple[None, ...]:  # type: ignore[override]
        """Nones, one a dimension."""
        return (None,) * self.ndim

    @property
    def value_type(self) -> pa.DataType:
        return self.storage_type.field("data").type.value_type

    def __arrow_ext_serialize__(self) -> bytes:
        return json.dumps(self.ndim).encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Any:
        return cls(storage_type.field("data").type.value_type, int(_from_json(serialized)))

    def __arrow_ext_class__(self) -> Any:
        return ArrowVariableShapedTensorArray

    def __eq__(self, other: Any) -> bool:
        same = isinstance(other, ArrowVariableShapedTensorType)
        return same and (other.ndim, other.value_type) == (self.ndim, self.value_type)

    def __hash__(self) -> int:
        return hash((self.extension_name, self.ndim, str(self.value_type)))


def _from_json(serialized: bytes) -> Any:
    try:
        return json.loads(serialized)
    except ValueError as error:
        raise ValueError(
            "A tensor column describes its shape by something that is not JSON (Ray 2.49 to 2.54 pickled it), which is "
            "not read, because unpickling runs code. Write the file again with another version."
        ) from error


class ArrowTensorArray(pa.ExtensionArray):
    """Tensors of one shape."""

    @classmethod
    def from_numpy(cls, arr: Any, *, column_name: str | None = None) -> Any:
        """A column of tensors of an array (rows first), or of a sequence of arrays.

        Args:
            column_name: what an error calls it.

        Returns:
            an array of the type that `create_arrow_fixed_shape_tensor_type` chooses; of one of differing shapes where
            they differ; a plain array for plain numbers.

        Raises:
            ArrowConversionError: it cannot be one.
        """
        try:
            return _from_numpy(arr)
        except (ValueError, TypeError, pa.ArrowException) as error:
            raise ArrowConversionError(repr(arr), column_name) from error

    def to_numpy(self, zero_copy_only: bool = True) -> np.ndarray:  # type: ignore[override]
        """The tensors as one array, rows first; `zero_copy_only` is of no consequence."""
        if self.null_count:
            return _objects(self.storage, lambda values: np.asarray(values).reshape(self.type.shape))
        values = self.storage.flatten()
        flat = values.to_numpy(zero_copy_only=not pa.types.is_boolean(values.type))
        return flat.reshape((len(self), *self.type.shape))

    to_numpy_ndarray = to_numpy

    def to_var_shaped_tensor_array(self, ndim: int) -> Any:
        """The same as tensors of differing shapes; those of fewer dimensions than `ndim` get more of length 1."""
        return _of_dimensions(self.to_numpy(), ndim)


class ArrowVariableShapedTensorArray(pa.ExtensionArray):
    """Tensors of differing shapes."""

    @classmethod
    def from_numpy(cls, arr: Any) -> Any:
        """A column of a sequence of arrays of as many dimensions each."""
        return ragged(list(arr))

    def to_numpy(self, zero_copy_only: bool = True) -> np.ndarray:  # type: ignore[override]
        """An array of arrays; `zero_copy_only` is of no consequence."""
        lists, shapes = self.storage.field(0), self.storage.field(1)
        out = np.empty(len(self), dtype=object)
        offsets = np.asarray(lists.offsets)
        values = lists.values.to_numpy(zero_copy_only=False)
        valid = np.asarray(self.storage.is_valid())
        for row, shape in enumerate(shapes.to_pylist()):
            if shape is not None and valid[row]:
                out[row] = values[offsets[row] : offsets[row + 1]].reshape(shape)
        return out

    def to_var_shaped_tensor_array(self, ndim: int) -> Any:
        """The same with more dimensions, of length 1, where there are fewer than `ndim`."""
        return _of_dimensions(self.to_numpy(), ndim)


def _of_dimensions(values: Any, ndim: int) -> Any:
    made = []
    for value in values:
        if value.ndim > ndim:
            raise ValueError(f"a tensor of {value.ndim} dimensions cannot have {ndim}")
        made.append(value.reshape((1,) * (ndim - value.ndim) + value.shape))
    return ragged(made)


def _objects(storage: pa.Array, convert: Any) -> np.ndarray:
    out = np.empty(len(storage), dtype=object)
    for row, values in enumerate(storage.to_pylist()):
        out[row] = None if values is None else convert(values)
    return out


def ragged(values: Sequence[np.ndarray]) -> pa.Array:
    """A column of arrays of as many dimensions and one dtype each.

    Raises:
        ValueError: they differ in either, or there are none.
    """
    kinds = {(value.ndim, value.dtype) for value in values}
    if len(kinds) != 1:
        raise ValueError(
            f"arrays of one column must have one dtype and number of dimensions, not {sorted(map(str, kinds))}"
        )
    ndim, _ = kinds.pop()
    flat = pa.array(np.concatenate([value.reshape(-1) for value in values]))
    offsets = np.cumsum([0, *(value.size for value in values)], dtype=np.int64)
    sizes = pa.array(np.array([value.shape for value in values], np.int64).reshape(-1))
    edges = pa.array(np.arange(0, ndim * len(values) + 1, max(1, ndim), dtype=np.int32)[: len(values) + 1])
    shapes = (
        pa.ListArray.from_arrays(edges, sizes) if ndim else pa.array([[]] * len(values), pa.list_(pa.int64()))
    )
    storage = pa.StructArray.from_arrays(
        [pa.LargeListArray.from_arrays(offsets, flat), shapes], ["data", "shape"]
    )
    return pa.ExtensionArray.from_storage(ArrowVariableShapedTensorType(flat.type, ndim), storage)


def _from_numpy(arr: Any) -> Any:
    if not isinstance(arr, np.ndarray):
        arr = list(arr)
        if not all(isinstance(value, np.ndarray) for value in arr):
            raise ValueError("a column of tensors needs an array, or arrays")
        if len({value.shape for value in arr}) > 1:
            return ragged(arr)
        arr = np.stack(arr)
    if arr.dtype == object:
        return _from_numpy(list(arr))
    if arr.ndim == 1:
        return pa.array(arr)
    flat = pa.array(np.ascontiguousarray(arr).reshape(-1))
    kind = create_arrow_fixed_shape_tensor_type(arr.shape[1:], flat.type)
    size = int(np.prod(arr.shape[1:]))
    offsets = np.arange(0, (len(arr) + 1) * size, size) if size else np.zeros(len(arr) + 1, np.int64)
    if isinstance(kind, pa.FixedShapeTensorType):
        return pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(flat, size))
    lists = pa.ListArray if isinstance(kind, ArrowTensorType) else pa.LargeListArray
    width = np.int32 if isinstance(kind, ArrowTensorType) else np.int64
    return pa.ExtensionArray.from_storage(kind, lists.from_arrays(offsets.astype(width), flat))


class FixedShapeTensorFormat(enum.Enum):
    """Types of tensors of one shape: Ray's two, and Arrow's own."""

    V1 = "v1"
    V2 = "v2"
    ARROW_NATIVE = "native"

    def to_type(self) -> Any:
        """The class."""
        own = {FixedShapeTensorFormat.V1: ArrowTensorType, FixedShapeTensorFormat.V2: ArrowTensorTypeV2}
        return own.get(self, pa.FixedShapeTensorType)


def create_arrow_fixed_shape_tensor_type(shape: tuple[int, ...], dtype: pa.DataType) -> pa.DataType:
    """The type of tensors of a shape that `DataContext.arrow_fixed_shape_tensor_format` chooses; Arrow's by default.

    Elements that are no numbers, which Arrow's own type cannot give back, are left to `ArrowTensorTypeV2`.
    """
    from narke.data.context import DataContext

    chosen = DataContext.get_current().arrow_fixed_shape_tensor_format
    if chosen in (None, FixedShapeTensorFormat.ARROW_NATIVE):
        if not (pa.types.is_integer(dtype) or pa.types.is_floating(dtype)):
            return ArrowTensorTypeV2(shape, dtype)
        return pa.fixed_shape_tensor(dtype, shape)
    return chosen.to_type()(shape, dtype)


def get_arrow_extension_tensor_types() -> tuple[Any, ...]:
    """All types of tensors."""
    return (ArrowTensorType, ArrowTensorTypeV2, ArrowVariableShapedTensorType, pa.FixedShapeTensorType)


class ArrowConversionError(Exception):
    """Values that no type of Arrow's holds.

    Args:
        data_str: the values, of which the beginning is shown. column_name: whose they are. pa_type: the wanted type.
    """

    MAX_DATA_STR_LEN = 200

    def __init__(self, data_str: str, column_name: str | None = None, pa_type: Any = None):
        where = f" of column {column_name!r}" if column_name else ""
        what = f" to {pa_type}" if pa_type is not None else ""
        super().__init__(f"Error converting data{where} to Arrow{what}: {data_str[: self.MAX_DATA_STR_LEN]}")


def register() -> None:
    """Make Arrow know the types; again does nothing."""
    number = pa.int64()
    for kind in (
        ArrowTensorType((1,), number),
        ArrowTensorTypeV2((1,), number),
        ArrowVariableShapedTensorType(number, 1),
    ):
        try:
            pa.register_extension_type(kind)
        except pa.ArrowKeyError:
            pass  # registered earlier in this process
