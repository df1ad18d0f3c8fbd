"""What preprocessors of single columns share: which columns, and where the results go."""

from __future__ import annotations

import inspect
from typing import Any

from narke.data.preprocessor import Preprocessor


class Columnwise(Preprocessor):
    """Base of preprocessors that change columns one by one.

    Args:
        columns: names. output_columns: where the results go, in the same order; by default in their place.
    """

    columns: list[str]
    output_columns: list[str]

    def __init__(self, columns: list[str], output_columns: list[str] | None = None):
        if output_columns is not None and len(output_columns) != len(columns):
            raise ValueError(f"{len(columns)} columns and {len(output_columns)} output_columns do not fit")
        self.columns = list(columns)
        self.output_columns = list(output_columns or columns)

    def get_input_columns(self) -> list[str]:
        """The columns that it reads."""
        return self.columns

    def get_output_columns(self) -> list[str]:
        """The columns that it writes."""
        return self.output_columns

    def _transform_pandas(self, frame: Any) -> Any:
        made = {
            out: self._column(name, frame[name])
            for name, out in zip(self.columns, self.output_columns, strict=True)
        }
        return frame.assign(**made)

    def _column(self, name: str, values: Any) -> Any:
        """The changed values (a Series) of a column."""
        raise NotImplementedError

    def __repr__(self) -> str:
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        return shown(self, [*(name for name in names if name != "output_columns"), "output_columns"])


def shown(preprocessor: Preprocessor, names: list[str]) -> str:
    """A preprocessor with its settings of these names, functions by their names."""
    settings = {name: getattr(preprocessor, name) for name in names if hasattr(preprocessor, name)}
    texts = (f"{name}={getattr(value, '__name__', None) or repr(value)}" for name, value in settings.items())
    return f"{type(preprocessor).__name__}({', '.join(texts)})"
