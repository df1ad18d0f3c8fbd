"""Transforms of torchvision over columns of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from narke.data.preprocessor import Preprocessor


class TorchVisionPreprocessor(Preprocessor):
    """Applies a function of torchvision to columns of arrays.

    Args:
        columns: names. transform: of an array (rows x columns x channels), or of whole batches when `batched`.
        output_columns: where the results go, by default in their place.
    """

    columns: list[str]
    output_columns: list[str]
    torchvision_transform: Callable[[Any], Any]
    batched: bool

    _is_fittable = False

    def __init__(
        self,
        columns: list[str],
        transform: Callable[[Any], Any],
        output_columns: list[str] | None = None,
        batched: bool = False,
    ):
        self.columns, self.torchvision_transform, self.batched = list(columns), transform, batched
        self.output_columns = list(output_columns or columns)

    def get_input_columns(self) -> list[str]:
        """The columns that it reads."""
        return self.columns

    def get_output_columns(self) -> list[str]:
        """The columns that it writes."""
        return self.output_columns

    def _transform_numpy(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        made = {o: self._one(batch[c]) for c, o in zip(self.columns, self.output_columns, strict=True)}
        return {**batch, **made}

    def _one(self, values: np.ndarray) -> Any:
        if self.batched:
            return _plain(self.torchvision_transform(_writable(values)))
        return [_plain(self.torchvision_transform(_writable(value))) for value in values]


def _writable(values: Any) -> np.ndarray:
    return values if values.flags.writeable else values.copy()


def _plain(value: Any) -> Any:
    return value.numpy() if hasattr(value, "numpy") else np.asarray(value)
