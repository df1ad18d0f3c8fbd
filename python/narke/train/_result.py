"""The result of a run of the present generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from narke.air.result import Result as _Result

__all__ = ["Result"]


@dataclass(repr=False)
class Result(_Result):
    """What a training run ended with; see `narke.air.Result`.

    Args:
        return_value: what the training function returned on rank 0.
    """

    return_value: Any = None
