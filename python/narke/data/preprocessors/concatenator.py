"""Joins columns into one of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from narke.data.near_names import unknown
from narke.data.preprocessor import Preprocessor
from narke.data.preprocessors.columnwise import shown


class Concatenator(Preprocessor):
    """Puts columns of numbers and vectors side by side in one column, which takes their place.

    Args:
        columns: names, in order. output_column_name: of the result. dtype: numpy type of its numbers.
        raise_if_missing: whether a column that is not there is an error. flatten: vectors are flattened either way.
    """

    columns: list[str]
    output_column_name: str
    dtype: Any
    raise_if_missing: bool
    flatten: bool

    _is_fittable = False

    def __init__(
        self,
        columns: list[str],
        output_column_name: str = "concat_out",
        dtype: Any = None,
        raise_if_missing: bool = False,
        flatten: bool = False,
    ):
        self.columns, self.output_column_name, self.dtype = list(columns), output_column_name, dtype
        self.raise_if_missing, self.flatten = raise_if_missing, flatten

    def get_input_columns(self) -> list[str]:
        """The columns that it reads."""
        return self.columns

    def get_output_columns(self) -> list[str]:
        """The column that it writes."""
        return [self.output_column_name]

    def _transform_numpy(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        missing = [name for name in self.columns if name not in batch]
        if missing and self.raise_if_missing:
            raise ValueError(f"cannot concatenate: {unknown(missing, batch)}")
        present = [batch[name] for name in self.columns if name in batch]
        joined = np.concatenate([values.reshape(len(values), -1) for values in present], axis=1)
        rest = {name: values for name, values in batch.items() if name not in self.columns}
        return {**rest, self.output_column_name: joined if self.dtype is None else joined.astype(self.dtype)}

    def __repr__(self) -> str:
        return shown(self, ["columns"])
