"""One column: from Python and numpy values to Arrow, and back.

Arrays of one shape become Arrow's fixed-shape tensors; what Arrow has no type for becomes an array of pickles.
"""

from __future__ import annotations

import contextlib
import functools
import hmac
import pickle
from collections.abc import Iterable, Sequence
from typing import Any

import cloudpickle
import numpy as np
import pyarrow as pa

from narke._private import session, sessions_dir
from narke.data import tensor_types

SEAL_BYTES = 16


class ObjectType(pa.ExtensionType):
    """Any Python objects: each a pickle behind a seal that only programs of this cluster can make.

    Unpickling runs whatever the author of the bytes wants (CVE-2026-41486), so bytes without the seal are refused,
    wherever they come from. The seal depends on the bytes: what is seen of one tells nothing about another.
    """

    def __init__(self) -> None:
        super().__init__(pa.large_binary(), "narke.object")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> ObjectType:
        return cls()

    def __hash__(self) -> int:
        return hash(self.extension_name)

    def __arrow_ext_class__(self) -> Any:
        return ArrowPythonObjectArray

    def __arrow_ext_scalar_class__(self) -> Any:
        return ArrowPythonObjectScalar

    def to_pandas_dtype(self) -> Any:
        """The type of pandas."""
        from narke.data.extensions.object_extension import PythonObjectDtype

        return PythonObjectDtype()


class ArrowPythonObjectScalar(pa.ExtensionScalar):
    """One object."""

    def as_py(self, **kwargs: Any) -> Any:
        """The object.

        Raises:
            ValueError: no program of this cluster made it.
        """
        return None if self.value is None else _unsealed(self.value.as_py(), _seal_key())


class ArrowPythonObjectArray(pa.ExtensionArray):
    """A column of objects."""

    @staticmethod
    def from_objects(objects: Sequence[Any]) -> Any:
        """A column of any objects."""
        return objects_to_arrow(list(objects))

    def to_numpy(self, zero_copy_only: bool = False, writable: bool = False) -> np.ndarray:  # type: ignore[override]
        """The objects, as numpy's array; the arguments are of no consequence.

        Raises:
            ValueError: no program of this cluster made one of them.
        """
        return object_array(objects_from_arrow(self))


def _seal_key() -> bytes:
    """The key of this cluster's seals, which follows from its token."""
    return _key_of(session.connected().info["session_dir"])


@functools.lru_cache(maxsize=4)
def _key_of(session_dir: str) -> bytes:
    return hmac.digest(sessions_dir.token_of(session_dir), b"narke.data objects", "sha256")


def _sealed(value: Any, key: bytes) -> bytes:
    pickled = cloudpickle.dumps(value)
    return hmac.digest(key, pickled, "sha256")[:SEAL_BYTES] + pickled


def _unsealed(data: bytes, key: bytes) -> Any:
    seal, pickled = data[:SEAL_BYTES], data[SEAL_BYTES:]
    if not hmac.compare_digest(seal, hmac.digest(key, pickled, "sha256")[:SEAL_BYTES]):
        raise ValueError(
            "The data holds pickled Python objects that no program of this cluster has made. They are not read, "
            "because unpickling runs code: write the column as a type of Arrow's instead."
        )
    return pickle.loads(pickled)


def refuse_objects(schema: pa.Schema, what: str) -> None:
    """Raises ValueError when a schema, of a file that is read or written, has columns of pickled objects."""
    found = [field.name for field in schema if isinstance(field.type, ObjectType)]
    if found:
        raise ValueError(
            f"{what}: the columns {found} are pickled Python objects, which no data file may hold: reading them "
            "would run code. Turn them into numbers, texts, lists or structs first, for instance with map_batches."
        )


def register_types() -> None:
    """Make Arrow know `ObjectType` and the tensors that Arrow has no types for; again does nothing."""
    tensor_types.register()
    try:
        pa.register_extension_type(ObjectType())
    except pa.ArrowKeyError:
        pass  # registered earlier in this process


register_types()


def is_tensor(kind: pa.DataType) -> bool:
    """Whether a column's type is tensors, of one shape or not."""
    return isinstance(kind, (pa.FixedShapeTensorType, tensor_types.TensorType))


def tensor_from_numpy(values: np.ndarray) -> pa.Array:
    """A tensor column of an array whose first dimension is the rows; shares memory where Arrow can."""
    values = np.ascontiguousarray(values)
    shape = values.shape[1:]
    flat = _flat(values.reshape(-1))
    size = int(np.prod(shape))
    storage = (
        pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(flat.type, size))
        if size
        else _empty_lists(flat, values)
    )
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(flat.type, shape), storage)


def _empty_lists(flat: pa.Array, values: np.ndarray) -> pa.Array:
    return pa.array([[]] * len(values), type=pa.list_(flat.type, 0))


def tensor_to_numpy(column: pa.Array) -> np.ndarray:
    """The array of a tensor column, rows first; an array of arrays where shapes differ or some are null."""
    if isinstance(column.type, tensor_types.TensorType):
        return column.to_numpy()
    if column.null_count:
        return _tensors_and_nulls(column)
    shape = tuple(column.type.shape)
    values = column.storage.flatten()
    flat = _plain_to_numpy(values) if is_plain(values) else values.to_numpy(zero_copy_only=False)
    return flat.reshape((len(column), *shape))


def _tensors_and_nulls(column: pa.Array) -> np.ndarray:
    shape = tuple(column.type.shape)
    parts = (None if v is None else np.asarray(v).reshape(shape) for v in column.storage.to_pylist())
    return object_array(list(parts))


def objects_to_arrow(values: Iterable[Any]) -> pa.Array:
    """A column of pickles."""
    key = _seal_key()
    storage = pa.array([None if v is None else _sealed(v, key) for v in values], pa.large_binary())
    return pa.ExtensionArray.from_storage(ObjectType(), storage)


def objects_from_arrow(column: pa.Array) -> list[Any]:
    """The objects of a column of pickles.

    Raises:
        ValueError: one was not made by a program of this cluster.
    """
    key = _seal_key()
    return [None if v is None else _unsealed(v, key) for v in column.storage.to_pylist()]


def to_arrow(values: Any) -> pa.Array | pa.ChunkedArray:
    """A column of anything a function of the user's may return for one.

    Args:
        values: numpy array (rows first), pandas Series, Arrow array, torch tensor, or a sequence of Python values.

    Returns: an Arrow array of as many rows.
    """
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    if hasattr(values, "to_arrow"):
        return values.to_arrow()
    if type(values).__module__.startswith("pandas"):
        return _from_series(values)
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    if isinstance(values, np.ndarray):
        return _from_ndarray(values)
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise ValueError(
            f"a batch's column must be an array or a list, not {type(values).__name__}: {values!r:.80}"
        )
    return _from_list(values if isinstance(values, list) else list(values))


def _from_series(series: Any) -> pa.Array:
    if hasattr(series.array, "numpy_shape"):
        return to_arrow(series.array.to_numpy())
    if series.dtype == object:
        return _from_list(series.tolist())
    return pa.Array.from_pandas(series)


def _from_ndarray(values: np.ndarray) -> pa.Array:
    if values.ndim > 1:
        if values.dtype == object:
            return _from_list(list(values))
        return tensor_from_numpy(values)
    if values.ndim == 0:
        raise ValueError(f"a batch's column must have rows; this one is the single value {values!r}")
    if values.dtype == object:
        return _from_list(values.tolist())
    if values.dtype.kind in "US":
        return pa.array(values.tolist())
    return _flat(np.ascontiguousarray(values))


def _flat(values: np.ndarray) -> pa.Array:
    """An array of one dimension; shares memory. `pa.array` would import pandas, which takes longer than many tasks."""
    if values.dtype.kind in "iuf" and values.dtype.isnative:
        return pa.Array.from_buffers(
            pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)]
        )
    return pa.array(values)


def _from_list(values: list[Any]) -> pa.Array:
    first = next((v for v in values if v is not None), None)
    if hasattr(first, "detach"):
        values = [v.detach().cpu().numpy() for v in values]
        first = values[0]
    if isinstance(first, np.ndarray) and first.ndim > 0:
        return _from_arrays(values)
    if isinstance(first, (np.datetime64, np.timedelta64)):
        return _from_times(values, type(first))
    for nan_is_null in (False, True):  # among numbers NaN is one; among others it stands for nothing
        with contextlib.suppress(
            pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError
        ):
            return pa.array(values, from_pandas=nan_is_null)
    return _mixed(values)


def _from_times(values: list[Any], kind: Any) -> pa.Array:
    """Times of numpy, which Arrow takes from a list only in some units."""
    if all(isinstance(v, kind) or v is None for v in values):
        return pa.array(np.array([kind("NaT") if v is None else v for v in values]))
    return objects_to_arrow(values)


def _mixed(values: list[Any]) -> pa.Array:
    """Whole numbers and others as floats; whole numbers of more than 64 bits as they are."""
    whole = all(isinstance(v, int) or v is None for v in values)
    if not whole and all(isinstance(v, (int, float, np.number)) or v is None for v in values):
        return pa.array([None if v is None else float(v) for v in values])
    return objects_to_arrow(values)


def _from_arrays(values: list[Any]) -> pa.Array:
    """Arrays of one shape or number of dimensions as tensors, others as objects."""
    shapes = {getattr(v, "shape", None) for v in values}
    kinds: set[Any] = {(getattr(v, "ndim", None), getattr(v, "dtype", None)) for v in values}
    if len(shapes) > 1 and len(kinds) == 1 and next(iter(kinds))[1].kind in "iufb":
        return tensor_types.ragged(values)
    if len(shapes) > 1 or values[0] is None or values[0].dtype == object:
        return objects_to_arrow(values)
    stacked = np.stack(values)
    return objects_to_arrow(values) if stacked.dtype.kind in "USO" else tensor_from_numpy(stacked)


def one_chunk(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as one array; copies only when it has several chunks."""
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    joined = column.combine_chunks()
    return joined.chunk(0) if isinstance(joined, pa.ChunkedArray) and joined.num_chunks else joined


def to_numpy(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The column as numpy array, without a copy where there is one chunk of numbers without nulls."""
    whole = one_chunk(column)
    if isinstance(whole, pa.ChunkedArray):
        return np.empty(0, whole.type.to_pandas_dtype())
    if is_plain(whole):
        return _plain_to_numpy(whole)
    if is_tensor(whole.type):
        return tensor_to_numpy(whole)
    if isinstance(whole.type, ObjectType):
        return object_array(objects_from_arrow(whole))
    if (
        pa.types.is_list(whole.type)
        or pa.types.is_large_list(whole.type)
        or pa.types.is_fixed_size_list(whole.type)
    ):
        return _lists_to_numpy(whole)
    return whole.to_numpy(zero_copy_only=False)


def is_plain(column: pa.Array) -> bool:
    """Whether it is numbers without nulls, which are in memory as numpy has them."""
    return not column.null_count and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type))


def _plain_to_numpy(column: pa.Array) -> np.ndarray:
    """Without a copy, and without pandas, which Arrow's own conversion imports."""
    kind = np.dtype(column.type.to_pandas_dtype())
    memory = column.buffers()[1]
    if memory is None or len(column) == 0:
        return np.empty(0, kind)
    return np.frombuffer(memory, kind, len(column), column.offset * kind.itemsize)


def _lists_to_numpy(column: pa.Array) -> np.ndarray:
    """Lists of one length as an array of two dimensions, others as an array of arrays."""
    parts = column.to_numpy(zero_copy_only=False)
    lengths = {None if p is None else len(p) for p in parts}
    if (
        len(lengths) == 1
        and None not in lengths
        and isinstance(parts[0], np.ndarray)
        and parts[0].dtype.kind != "O"
    ):
        return np.stack(list(parts))
    return parts


def object_array(values: Sequence[Any]) -> np.ndarray:
    """A numpy array of objects that never tries to look inside them."""
    out = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        out[index] = value
    return out


def to_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """The column as Python values; tensors as arrays."""
    whole = one_chunk(column)
    if is_tensor(whole.type):
        return list(tensor_to_numpy(whole)) if len(whole) else []
    if isinstance(whole.type, ObjectType):
        return objects_from_arrow(whole) if len(whole) else []
    return whole.to_pylist()
