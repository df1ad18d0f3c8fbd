"""`MaximumIterationStopper`: a number of results."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from narke.tune.stopper.stopper import Stopper

__all__ = ["MaximumIterationStopper"]


class MaximumIterationStopper(Stopper):
    """Ends a trial after a number of results.

    Args:
        max_iter: how many.
    """

    def __init__(self, max_iter: int) -> None:
        self._max_iter = max_iter
        self._iter: dict[str, int] = defaultdict(int)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self._iter[trial_id] += 1
        return self._iter[trial_id] >= self._max_iter

    def stop_all(self) -> bool:
        """False: only trials end."""
        return False
