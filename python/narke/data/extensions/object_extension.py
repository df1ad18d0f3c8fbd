"""Columns of Python objects in pandas and Arrow. In Arrow they are sealed pickles, see `narke.data.columns`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray, ExtensionDtype, register_extension_dtype, take

from narke.data import columns
from narke.data.columns import ArrowPythonObjectArray, ArrowPythonObjectScalar, ObjectType

__all__ = [
    "ArrowPythonObjectArray",
    "ArrowPythonObjectScalar",
    "ArrowPythonObjectType",
    "PythonObjectArray",
    "PythonObjectDtype",
]
ArrowPythonObjectType = ObjectType


@register_extension_dtype
class PythonObjectDtype(ExtensionDtype):
    """Any objects."""

    name = "python_object()"
    type = object

    @classmethod
    def construct_from_string(cls, string: str) -> PythonObjectDtype:
        """The type of that name.

        Raises:
            TypeError: it is called otherwise.
        """
        if string != cls.name:
            raise TypeError(f"cannot construct a {cls.__name__} from {string!r}")
        return cls()

    @classmethod
    def construct_array_type(cls) -> Any:
        """Its arrays."""
        return PythonObjectArray

    def __from_arrow__(self, array: Any) -> PythonObjectArray:
        return PythonObjectArray(columns.to_values(array))


class PythonObjectArray(ExtensionArray):
    """An array of any objects."""

    def __init__(self, values: Iterable[Any]):
        self.values = columns.object_array(list(values))

    @classmethod
    def _from_sequence(cls, scalars: Any, *, dtype: Any = None, copy: bool = False) -> PythonObjectArray:
        return cls(scalars)

    def __getitem__(self, item: Any) -> Any:
        item = pd.api.indexers.check_array_indexer(self, item)
        found = self.values[item]
        return found if isinstance(item, (int, np.integer)) else type(self)(found)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.values[key] = value

    def __len__(self) -> int:
        return len(self.values)

    def __eq__(self, other: Any) -> Any:
        return self.values == (other.values if isinstance(other, PythonObjectArray) else other)

    __hash__ = None  # type: ignore[assignment]

    @property
    def dtype(self) -> PythonObjectDtype:
        """The type of pandas."""
        return PythonObjectDtype()

    @property
    def nbytes(self) -> int:
        """Bytes of the references; not of the objects."""
        return self.values.nbytes

    def isna(self) -> np.ndarray:
        """True where it is None or NaN."""
        return pd.isna(self.values)

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> PythonObjectArray:
        """Elements by number; see pandas."""
        return type(self)(take(self.values, indices, allow_fill=allow_fill, fill_value=fill_value))

    def copy(self) -> PythonObjectArray:
        """Another array of the same objects."""
        return type(self)(self.values)

    @classmethod
    def _concat_same_type(cls, to_concat: Any) -> PythonObjectArray:
        return cls(np.concatenate([part.values for part in to_concat]))

    def to_numpy(
        self, dtype: Any = None, copy: bool = False, na_value: Any = pd.api.extensions.no_default
    ) -> np.ndarray:
        """As numpy's array of objects."""
        made = self.values.copy() if copy or na_value is not pd.api.extensions.no_default else self.values
        if na_value is not pd.api.extensions.no_default:
            made[self.isna()] = na_value
        return made if dtype is None else made.astype(dtype)

    def __arrow_array__(self, type: Any = None) -> Any:
        return columns.objects_to_arrow(self.values)
