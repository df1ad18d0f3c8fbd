"""`TrialPlateauStopper`: a metric that no longer changes."""

from __future__ import annotations

import statistics
from collections import defaultdict, deque
from typing import Any

from narke.tune.stopper.stopper import Stopper

__all__ = ["TrialPlateauStopper"]


class TrialPlateauStopper(Stopper):
    """Ends a trial when the standard deviation of its last values of a metric is small.

    Args:
        metric: the metric.
        std: the greatest deviation of a plateau.
        num_results: how many values count.
        grace_period: results before the first decision.
        metric_threshold: end only trials whose metric is no better than this.
        mode: "min" or "max", needed with a threshold.

    Raises:
        ValueError: a threshold without a mode.
    """

    def __init__(
        self,
        metric: str,
        std: float = 0.01,
        num_results: int = 4,
        grace_period: int = 4,
        metric_threshold: float | None = None,
        mode: str | None = None,
    ) -> None:
        if metric_threshold is not None and mode not in ("min", "max"):
            raise ValueError(f"with a metric_threshold, mode must be 'min' or 'max', not {mode!r}")
        self._metric = metric
        self._std = std
        self._num_results = num_results
        self._grace_period = grace_period
        self._metric_threshold = metric_threshold
        self._mode = mode
        self._iter: dict[str, int] = defaultdict(int)
        self._values: dict[str, deque] = defaultdict(lambda: deque(maxlen=num_results))

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        value = result.get(self._metric)
        if value is None:
            return False
        self._values[trial_id].append(value)
        self._iter[trial_id] += 1
        if self._iter[trial_id] < self._grace_period or len(self._values[trial_id]) < self._num_results:
            return False
        if self._metric_threshold is not None:
            if self._mode == "min" and value > self._metric_threshold:
                return False
            if self._mode == "max" and value < self._metric_threshold:
                return False
        return statistics.pstdev(self._values[trial_id]) < self._std

    def stop_all(self) -> bool:
        """False: only trials end."""
        return False

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        state["_values"] = {trial: list(values) for trial, values in self._values.items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        count = self._num_results
        self._values = defaultdict(lambda: deque(maxlen=count))
        for trial, values in state["_values"].items():
            self._values[trial].extend(values)
