"""Scales rows to length 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from narke.data.preprocessors.columnwise import Columnwise

NORMS = {
    "l1": lambda values: np.abs(values).sum(axis=1),
    "l2": lambda values: np.sqrt((values**2).sum(axis=1)),
    "max": lambda values: np.abs(values).max(axis=1),
}


class Normalizer(Columnwise):
    """Divides the columns by the row's norm over all of them.

    Args:
        columns, output_columns: see `Columnwise`. norm: "l1", "l2" or "max".
    """

    norm: str

    _is_fittable = False

    def __init__(self, columns: list[str], norm: str = "l2", *, output_columns: list[str] | None = None):
        super().__init__(columns, output_columns)
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {sorted(NORMS)}, not {norm!r}")
        self.norm = norm

    def _transform_pandas(self, frame: Any) -> Any:
        values = frame[self.columns].to_numpy(dtype=float)
        scaled = values / NORMS[self.norm](values)[:, None]
        return frame.assign(**{out: scaled[:, i] for i, out in enumerate(self.output_columns)})
