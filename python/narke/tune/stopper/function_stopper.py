"""`FunctionStopper`: a function decides."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from narke.tune.stopper.stopper import Stopper

__all__ = ["FunctionStopper"]


class FunctionStopper(Stopper):
    """Ends a trial when a function says so.

    Args:
        function: of (trial id, result), returns a bool.
    """

    def __init__(self, function: Callable[[str, dict], bool]) -> None:
        self._fn = function

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._fn(trial_id, result)

    def stop_all(self) -> bool:
        """False: only trials end."""
        return False

    @classmethod
    def is_valid_function(cls, fn: Any) -> bool:
        """Whether `fn` can be called with (trial id, result)."""
        if not callable(fn) or isinstance(fn, Stopper):
            return False
        try:
            inspect.signature(fn).bind("", {})
        except (TypeError, ValueError):
            return False
        return True
