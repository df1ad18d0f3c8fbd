"""Batches of data between data frames, Arrow tables and arrays."""

from __future__ import annotations

import warnings
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from narke.air.constants import TENSOR_COLUMN_NAME

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "BatchFormat",
    "BlockFormat",
    "DataType",
    "convert_batch_type_to_pandas",
    "convert_pandas_to_batch_type",
]


class BatchFormat(str, Enum):
    """The type of a batch."""

    PANDAS = "pandas"
    ARROW = "arrow"
    NUMPY = "numpy"


class BlockFormat(str, Enum):
    """The type of a dataset's block."""

    PANDAS = "pandas"
    ARROW = "arrow"
    SIMPLE = "simple"


class DataType(Enum):
    """The type of a batch, under its first name."""

    PANDAS = 1
    ARROW = 2
    NUMPY = 3


def convert_batch_type_to_pandas(data: Any, cast_tensor_columns: bool = False) -> pd.DataFrame:
    """A batch as a data frame.

    Args:
        data: a data frame, an Arrow table, an array (one column), or arrays by column; arrays of more than one
            dimension become columns of arrays.
        cast_tensor_columns: has no effect: such columns hold plain arrays.

    Raises:
        ValueError: `data` is of another type.
    """
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, np.ndarray):
        return pd.DataFrame({TENSOR_COLUMN_NAME: _column(data)})
    if isinstance(data, dict):
        return pd.DataFrame({name: _column(np.asarray(each)) for name, each in data.items()})
    if hasattr(data, "to_pandas"):
        return data.to_pandas()
    raise ValueError(
        f"a batch is a data frame, a table, an array or a dict of arrays, not {type(data).__name__}"
    )


def _column(values: np.ndarray) -> Any:
    return list(values) if values.ndim > 1 else values


def convert_pandas_to_batch_type(data: pd.DataFrame, type: Any, cast_tensor_columns: bool = False) -> Any:
    """A data frame as another type of batch.

    Args:
        data: a data frame.
        type: a `BatchFormat` or `DataType`.
        cast_tensor_columns: has no effect: columns of arrays become arrays anyway.

    Raises:
        ValueError: another type.
    """
    wanted = getattr(type, "name", str(type)).upper()
    if wanted == "PANDAS":
        return data
    if wanted == "NUMPY":
        arrays = {name: _array(data[name]) for name in data.columns}
        return arrays[TENSOR_COLUMN_NAME] if list(arrays) == [TENSOR_COLUMN_NAME] else arrays
    if wanted == "ARROW":
        import pyarrow as pa

        return pa.Table.from_pandas(data)
    raise ValueError(f"a batch's type is one of BatchFormat, not {type!r}")


def _array(column: Any) -> np.ndarray:
    values = column.to_numpy()
    if values.dtype == object and len(values) and isinstance(values[0], (np.ndarray, list)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shapes = {np.shape(each) for each in values}
        return np.stack([np.asarray(each) for each in values]) if len(shapes) == 1 else values
    return values
