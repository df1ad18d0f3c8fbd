"""`MedianStoppingRule`: stops trials whose best value is worse than the median of the others' averages.

After Golovin et al., "Google Vizier: A Service for Black-Box Optimization" (2017), section 3.2.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import numpy as np

from narke.tune.result import DEFAULT_METRIC
from narke.tune.schedulers.trial_scheduler import FIFOScheduler, TrialScheduler

if TYPE_CHECKING:
    from narke.tune.execution.tune_controller import TuneController
    from narke.tune.experiment.trial import Trial

__all__ = ["MedianStoppingRule"]


class MedianStoppingRule(FIFOScheduler):
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
        if mode is not None and mode not in ("min", "max"):
            raise ValueError(f"`mode` must be 'min' or 'max', not {mode!r}")
        self._stopped_trials: set[str] = set()
        self._grace_period = grace_period
        self._min_samples_required = min_samples_required
        self._min_time_slice = min_time_slice
        self._metric = metric
        self._mode = mode
        self._time_attr = time_attr
        self._hard_stop = hard_stop
        self._last_pause: dict[str, float] = collections.defaultdict(float)
        self._results: dict[str, list[tuple[float, float]]] = collections.defaultdict(list)

    @property
    def _sign(self) -> float:
        return -1.0 if self._mode == "min" else 1.0

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take metric and mode, unless this has its own."""
        if (self._metric and metric) or (self._mode and mode):
            return False
        self._metric, self._mode = metric or self._metric, mode or self._mode
        if self._metric is None and self._mode:
            self._metric = DEFAULT_METRIC
        return True

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """See that metric and mode are known.

        Raises:
            ValueError: they are not.
        """
        if not self._metric or not self._mode:
            raise ValueError(
                f"{type(self).__name__} has been instantiated without a valid `metric` ({self._metric}) or `mode` "
                f"({self._mode}) parameter: pass them to it or to `tune.TuneConfig()`"
            )

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """STOP (or PAUSE) a trial that is worse than the median."""
        if self._time_attr not in result or self._metric not in result:
            return TrialScheduler.CONTINUE
        name, now = trial.trial_id, result[self._time_attr]
        if name in self._stopped_trials:
            return TrialScheduler.PAUSE if not self._hard_stop else TrialScheduler.STOP
        self._results[name].append((now, self._sign * result[self._metric]))
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
        if self._metric in result and self._time_attr in result:
            self._results[trial.trial_id].append((result[self._time_attr], self._sign * result[self._metric]))

    def debug_string(self) -> str:
        """How many trials were stopped."""
        return f"Using MedianStoppingRule: num_stopped={len(self._stopped_trials)}."
