"""`AsyncHyperBandScheduler` (ASHA): stops trials that are behind others at the same milestone.

After Li et al., "A System for Massively Parallel Hyperparameter Tuning" (2018): a bracket has milestones, each
`reduction_factor` times the one before; at one, a trial goes on if its value is among the best 1/`reduction_factor` of
those recorded there so far.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from narke.tune.result import TRAINING_ITERATION
from narke.tune.schedulers.trial_scheduler import ComparingScheduler, TrialScheduler

if TYPE_CHECKING:
    from narke.tune.execution.tune_controller import TuneController
    from narke.tune.experiment.trial import Trial

__all__ = ["ASHAScheduler", "AsyncHyperBandScheduler"]


class AsyncHyperBandScheduler(ComparingScheduler):
    """Asynchronous successive halving.

    Args:
        time_attr: what counts as time in results.
        metric, mode: what is compared; the experiment's if None.
        max_t: time after which a trial ends.
        grace_period: time before which no trial is stopped.
        reduction_factor: of each milestone's trials one in so many goes on.
        brackets: how many series of milestones, each beginning later; trials are dealt out among them.
        stop_last_trials: whether trials end at `max_t`.

    Raises:
        ValueError: a value is out of its range.
    """

    is_restorable = True

    def __init__(
        self,
        time_attr: str = TRAINING_ITERATION,
        metric: str | None = None,
        mode: str | None = None,
        max_t: int = 100,
        grace_period: int = 1,
        reduction_factor: float = 4,
        brackets: int = 1,
        stop_last_trials: bool = True,
    ) -> None:
        for name, value, least in (
            ("max_t", max_t, 0),
            ("grace_period", grace_period, 0),
            ("brackets", brackets, 0),
        ):
            if value <= least:
                raise ValueError(f"{name} must be above {least}, not {value}")
        if max_t < grace_period:
            raise ValueError(f"grace_period must be <= max_t, but {grace_period} > {max_t}")
        if reduction_factor <= 1:
            raise ValueError(f"reduction_factor must be above 1, not {reduction_factor}")
        super().__init__(time_attr, metric, mode)
        self._reduction_factor = reduction_factor
        self._max_t = max_t
        self._brackets = [
            _Bracket(grace_period, max_t, reduction_factor, number, stop_last_trials)
            for number in range(brackets)
        ]
        self._trial_info: dict[str, _Bracket] = {}
        self._counter = 0
        self._num_stopped = 0
        self._stop_last_trials = stop_last_trials

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """Put the trial into a bracket.

        Raises:
            ValueError: metric or mode is not known.
        """
        super().on_trial_add(tune_controller, trial)
        if trial.trial_id in self._trial_info:
            return
        # More trials into the brackets with more milestones.
        sizes = np.array([len(bracket._rungs) for bracket in self._brackets], dtype=float)
        chances = np.e ** (sizes - sizes.max())
        chosen = (
            int(np.random.choice(len(self._brackets), p=chances / chances.sum())) if len(sizes) > 1 else 0
        )
        self._trial_info[trial.trial_id] = self._brackets[chosen]

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """STOP at `max_t`, or at a milestone where the trial is behind."""
        if not self._is_told(result):
            return TrialScheduler.CONTINUE
        action = TrialScheduler.CONTINUE
        if result[self._time_attr] >= self._max_t and self._stop_last_trials:
            action = TrialScheduler.STOP
        else:
            bracket = self._trial_info[trial.trial_id]
            action = bracket.on_result(trial.trial_id, result[self._time_attr], self._score(result))
        if action == TrialScheduler.STOP:
            self._num_stopped += 1
        return action

    def _score(self, result: dict[str, Any]) -> float:
        return self._metric_op * result[self._metric]

    def on_trial_complete(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> None:
        """Record the last value."""
        if not self._is_told(result):
            return
        bracket = self._trial_info.pop(trial.trial_id, None)
        if bracket is not None:
            bracket.on_result(trial.trial_id, result[self._time_attr], self._score(result))

    def on_trial_remove(self, tune_controller: TuneController, trial: Trial) -> None:
        """Forget the trial."""
        self._trial_info.pop(trial.trial_id, None)

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """Forget the trial; what it reached at milestones counts on."""
        self._trial_info.pop(trial.trial_id, None)

    def debug_string(self) -> str:
        """The milestones of each bracket, with how many trials reached them."""
        lines = [f"Using AsyncHyperBand: num_stopped={self._num_stopped}"]
        return "\n".join(lines + [bracket.debug_str() for bracket in self._brackets])


class _Bracket:
    """Milestones, latest first, and what trials reached at them (the greatest value is the best).

    Args:
        min_t, max_t: the first milestone of bracket 0, and the bound of all.
        reduction_factor: between milestones.
        number: milestones begin at ``min_t * reduction_factor ** number``.
        stop_last_trials: whether trials end at `max_t`.
    """

    def __init__(
        self, min_t: int, max_t: int, reduction_factor: float, number: int, stop_last_trials: bool = True
    ) -> None:
        self.rf = reduction_factor
        count = int(math.log(max_t / min_t) / math.log(reduction_factor) - number + 1)
        self._rungs: list[tuple[float, dict[str, float]]] = [
            (min_t * reduction_factor ** (k + number), {}) for k in reversed(range(max(count, 0)))
        ]
        self._stop_last_trials = stop_last_trials

    def cutoff(self, recorded: dict[str, float]) -> float | None:
        """The value that a trial needs to go on, None if any does."""
        if not recorded:
            return None
        return float(np.nanpercentile(list(recorded.values()), (1 - 1 / self.rf) * 100))

    def on_result(self, trial_id: str, time: float, value: float | None) -> str:
        """Record a value at the latest milestone that is reached; returns what becomes of the trial."""
        action = TrialScheduler.CONTINUE
        for milestone, recorded in self._rungs:
            if time >= milestone and trial_id in recorded and not self._stop_last_trials:
                break
            if time < milestone or trial_id in recorded:
                continue
            cutoff = self.cutoff(recorded)
            if cutoff is not None and (value is None or math.isnan(value) or value < cutoff):
                action = TrialScheduler.STOP
            if value is not None:
                recorded[trial_id] = value
            break
        return action

    def debug_str(self) -> str:
        """The milestones with the values needed."""
        parts = [f"Iter {milestone:.3f}: {self.cutoff(recorded)}" for milestone, recorded in self._rungs]
        return "Bracket: " + " | ".join(parts)


ASHAScheduler = AsyncHyperBandScheduler
