"""`MedianStoppingRule`: stops trials whose best value is worse than the median of the others' averages.

After Golovin et al., "Google Vizier: A Service for Black-Box Optimization" (2017), section 3.2.
"""

from __future__ import annotations

import collections
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from narke.tune.schedulers.trial_scheduler import ComparingScheduler, TrialScheduler

if TYPE_CHECKING:
    from narke.tune.execution.tune_controller import TuneController
    from narke.tune.experiment.trial import Trial

__all__ = ["MedianStoppingRule"]


class MedianStoppingRule(ComparingScheduler):
    """Stops a trial at time t if its best value so far is worse than the median of the others' mean values until t.

    Args:
        time_attr: what counts as time in results.
        metric, mode: what is compared; the experiment's if None.
        grace_period: time before which no trial is stopped.
        min_samples_required: trials that the median needs.
        min_time_slice: time that a trial runs at least between two decisions.
        hard_stop: stop trials; else pause them, to go on when no other waits.

    Raises:
        ValueError: an unknown mode.
    """

    is_restorable = True

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: str | None = None,
        grace_period: float = 60.0,
        min_samples_required: int = 3,
        min_time_slice: int = 0,
        hard_stop: bool = True,
    ) -> None:
        super().__init__(time_attr, metric, mode)
        self._stopped_trials: set[str] = set()
        self._grace_period = grace_period
        self._min_samples_required = min_samples_required
        self._min_time_slice = min_time_slice
        self._hard_stop = hard_stop
        self._last_pause: dict[str, float] = collections.defaultdict(float)
        self._results: dict[str, list[tuple[float, float]]] = collections.defaultdict(list)

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """STOP (or PAUSE) a trial that is worse than the median."""
        if not self._is_told(result):
            return TrialScheduler.CONTINUE
        name, now = trial.trial_id, result[self._time_attr]
        if name in self._stopped_trials:
            return TrialScheduler.PAUSE if not self._hard_stop else TrialScheduler.STOP
        self._results[name].append((now, self._score(result)))
        if now < self._grace_period:
            return TrialScheduler.CONTINUE
        others = [each for each in self._results if each != name and self._results[each][-1][0] >= now]
        if len(others) < self._min_samples_required:
            return self._on_insufficient_samples(tune_controller, trial, now)
        median = float(np.median([self._mean(each, now) for each in others]))
        if max(value for _, value in self._results[name]) >= median:
            return TrialScheduler.CONTINUE
        self._stopped_trials.add(name)
        return TrialScheduler.STOP if self._hard_stop else TrialScheduler.PAUSE

    def _score(self, result: dict[str, Any]) -> float:
        """A value of which greater is better; NaN is the worst."""
        score = self._metric_op * result[self._metric]
        return -math.inf if math.isnan(score) else score

    def _mean(self, name: str, until: float) -> float:
        values = [value for when, value in self._results[name] if self._grace_period <= when <= until]
        return float(np.mean(values or [self._results[name][-1][1]]))

    def _on_insufficient_samples(self, tune_controller: TuneController, trial: Trial, now: float) -> str:
        """Let a trial wait for the others if others wait for its place."""
        waits = now - self._last_pause[trial.trial_id] > self._min_time_slice and self._min_time_slice > 0
        if waits and tune_controller.first_pending() is not None:
            self._last_pause[trial.trial_id] = now
            return TrialScheduler.PAUSE
        return TrialScheduler.CONTINUE

    def on_trial_complete(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> None:
        """Record the last value."""
        if self._is_told(result):
            self._results[trial.trial_id].append((result[self._time_attr], self._score(result)))

    def debug_string(self) -> str:
        """How many trials were stopped."""
        return f"Using MedianStoppingRule: num_stopped={len(self._stopped_trials)}."
