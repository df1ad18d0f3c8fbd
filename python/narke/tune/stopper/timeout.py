"""`TimeoutStopper`: a time for the whole experiment."""

from __future__ import annotations

import datetime
import time
from typing import Any

from narke.tune.stopper.stopper import Stopper

__all__ = ["TimeoutStopper"]


class TimeoutStopper(Stopper):
    """Ends the experiment after a time, which begins with the first question and goes on over restores.

    Args:
        timeout: seconds, or a timedelta.

    Raises:
        ValueError: it is neither, or not above 0.
    """

    def __init__(self, timeout: int | float | datetime.timedelta) -> None:
        if isinstance(timeout, datetime.timedelta):
            self._timeout_seconds = timeout.total_seconds()
        elif isinstance(timeout, (int, float)) and not isinstance(timeout, bool):
            self._timeout_seconds = float(timeout)
        else:
            raise ValueError(f"a timeout is a number of seconds or a datetime.timedelta, not {timeout!r}")
        if self._timeout_seconds <= 0:
            raise ValueError(f"a timeout must be above 0 seconds, not {self._timeout_seconds}")
        self._budget = self._timeout_seconds
        self._last_check: float | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.stop_all()

    def start(self) -> None:
        """Let the time begin."""
        if self._last_check is None:
            self._last_check = time.monotonic()

    def stop_all(self) -> bool:
        """Whether the time is up."""
        now = time.monotonic()
        if self._last_check is not None:
            self._budget -= now - self._last_check
        self._last_check = now
        return self._budget <= 0

    def remaining_s(self) -> float:
        """Seconds that are left."""
        return max(
            0.0, self._budget - (0 if self._last_check is None else time.monotonic() - self._last_check)
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_budget": self.remaining_s(), "_last_check": None}
