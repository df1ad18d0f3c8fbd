"""A stopwatch over the last few measurements, for throughput figures of training loops."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType

__all__: list[str] = []


class _Timer:
    """Measures with-blocks and averages the last ones.

    ``with timer: ...; timer.push_units_processed(n)`` gives `mean` (seconds), `mean_units_processed` and
    `mean_throughput` (units per second).

    Args:
        window_size: how many measurements the averages cover.
    """

    def __init__(self, window_size: int = 10) -> None:
        self.count = 0
        self._seconds: deque[float] = deque(maxlen=window_size)
        self._units: deque[float] = deque(maxlen=window_size)
        self._started_at: float | None = None

    def __enter__(self) -> _Timer:
        if self._started_at is not None:
            raise RuntimeError("this timer is already running: leave its with-block before entering it again")
        self._started_at = time.perf_counter()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._started_at is not None, "__exit__ without __enter__"
        self.push(time.perf_counter() - self._started_at)
        self._started_at = None

    def push(self, time_delta: float) -> None:
        """Add a measurement in seconds."""
        self._seconds.append(time_delta)
        self.count += 1

    def push_units_processed(self, n: float) -> None:
        """Note how many units the matching measurement covered."""
        self._units.append(n)

    def has_units_processed(self) -> bool:
        """True once units were noted."""
        return bool(self._units)

    @property
    def mean(self) -> float:
        """Average seconds per measurement, 0.0 without any."""
        return _mean(self._seconds)

    @property
    def mean_units_processed(self) -> float:
        """Average units per measurement, 0.0 without any."""
        return _mean(self._units)

    @property
    def mean_throughput(self) -> float:
        """Units per second over the window, 0.0 while no time was measured."""
        elapsed = sum(self._seconds)
        return sum(self._units) / elapsed if elapsed else 0.0


def _mean(values: deque[float]) -> float:
    return sum(values) / len(values) if values else 0.0
