"""The types a batch of data may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    import numpy
    import pandas
    import pyarrow

# A batch: an array, a table, a data frame, or arrays by column name.
DataBatchType = Union["numpy.ndarray", "pyarrow.Table", "pandas.DataFrame", dict[str, "numpy.ndarray"]]
