"""`HyperBandScheduler`: successive halving over brackets of trials that wait for each other.

After Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization" (2017). Bracket s of a band
takes ``ceil((s_max + 1) / (s + 1)) * eta**s`` trials, each for ``max_t / eta**s`` units of time at first; when all have
used theirs, the best 1/eta go on for eta times as long.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from narke.tune.error import TuneError
from narke.tune.experiment.trial import Trial
from narke.tune.schedulers.trial_scheduler import ComparingScheduler, TrialScheduler

if TYPE_CHECKING:
    from narke.tune.execution.tune_controller import TuneController

__all__ = ["HyperBandScheduler"]

logger = logging.getLogger(__name__)


class HyperBandScheduler(ComparingScheduler):
    """HyperBand. Trials must make checkpoints: they are paused until their bracket is judged.

    Args:
        time_attr: what counts as time in results.
        metric, mode: what is compared; the experiment's if None.
        max_t: the most time a trial gets.
        reduction_factor: eta.
        stop_last_trials: whether trials end at `max_t`.

    Raises:
        ValueError: a value is out of its range.
    """

    _supports_buffered_results = False

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: str | None = None,
        max_t: int = 81,
        reduction_factor: float = 3,
        stop_last_trials: bool = True,
    ) -> None:
        if max_t <= 0:
            raise ValueError(f"max_t must be above 0, not {max_t}")
        super().__init__(time_attr, metric, mode)
        self._eta = reduction_factor
        # One more than the greatest s; the float's error must not lose one.
        self._s_max_1 = int(np.round(np.log(max_t) / np.log(reduction_factor))) + 1
        self._max_t_attr = max_t
        self._hyperbands: list[list[_Bracket | None]] = [[]]
        self._trial_info: dict[Trial, tuple[_Bracket, int]] = {}
        self._state = {"bracket": None, "band_idx": 0}
        self._num_stopped = 0
        self._stop_last_trials = stop_last_trials

    def _size(self, s: int) -> int:
        """How many trials bracket s takes."""
        return int(np.ceil(self._s_max_1 / (s + 1)) * self._eta**s)

    def _first_time(self, s: int) -> int:
        """How long they run at first."""
        return int(np.round(self._max_t_attr * self._eta ** (-s)))

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """Put the trial into the bracket that is being filled."""
        super().on_trial_add(tune_controller, trial)
        bracket = self._open_bracket()
        bracket.add_trial(trial)
        self._trial_info[trial] = (bracket, self._state["band_idx"] or 0)

    def _open_bracket(self) -> _Bracket:
        """The bracket that is being filled: the next smaller s when it is full, then the next band."""
        current: Any = self._state["bracket"]
        if current is not None and not current.filled():
            return current
        band = self._hyperbands[-1]
        while True:
            if len(band) == self._s_max_1:
                band = []
                self._hyperbands.append(band)
                self._state["band_idx"] = len(self._hyperbands) - 1
            s = len(band)
            s = self._s_max_1 - 1 - s
            if self._first_time(s) > 0:
                break
            band.append(None)  # trials would have no time at all
        made = self._create_bracket(s)
        band.append(made)
        self._state["bracket"] = made  # type: ignore[assignment]
        return made

    def _create_bracket(self, s: int) -> _Bracket:
        return _Bracket(
            self._time_attr,
            self._size(s),
            self._first_time(s),
            self._max_t_attr,
            self._eta,
            s,
            self._stop_last_trials,
        )

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """PAUSE a trial that has used its time, until its bracket is judged."""
        if not self._is_told(result):
            return TrialScheduler.CONTINUE
        bracket, _ = self._trial_info[trial]
        bracket.update_trial_stats(trial, result)
        if bracket.continue_trial(trial):
            return TrialScheduler.CONTINUE
        if bracket.is_last_round() and not self._stop_last_trials:
            return TrialScheduler.CONTINUE
        return self._process_bracket(tune_controller, bracket, trial)

    def _process_bracket(
        self, tune_controller: TuneController, bracket: _Bracket, trial: Trial | None = None
    ) -> str:
        """Judge a bracket if all its trials have used their time; returns what becomes of the one that reported."""
        if not bracket.cur_iter_done():
            return TrialScheduler.PAUSE
        if bracket.finished():
            for each in bracket.current_trials():
                if each is not trial and not each.is_finished():
                    self._stop(tune_controller, bracket, each)
            if trial is not None:
                self._num_stopped += 1
                bracket.cleanup_trial(trial)
            return TrialScheduler.STOP
        good, bad = bracket.successive_halving(self._metric, self._metric_op)
        action = TrialScheduler.PAUSE
        self._num_stopped += len(bad)
        for each in bad:
            if each is trial:
                bracket.cleanup_trial(each)
                action = TrialScheduler.STOP
            elif each.status in (Trial.PAUSED, Trial.PENDING, Trial.RUNNING):
                self._stop(tune_controller, bracket, each)
        for each in good:
            if each is trial:
                action = TrialScheduler.CONTINUE
            else:
                tune_controller.unpause_trial(each)
        return action

    def _stop(self, tune_controller: TuneController, bracket: _Bracket, trial: Trial) -> None:
        bracket.cleanup_trial(trial)
        self._trial_info[trial] = (bracket, -1)
        tune_controller.stop_trial(trial)

    def on_trial_remove(self, tune_controller: TuneController, trial: Trial) -> None:
        """Take the trial out of its bracket, which may be judged now."""
        bracket, place = self._trial_info[trial]
        if place == -1:
            return
        bracket.cleanup_trial(trial)
        if not bracket.finished() and not bracket.is_being_processed and bracket.current_trials():
            self._process_bracket(tune_controller, bracket)

    def on_trial_complete(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> None:
        """Take the trial out of its bracket."""
        self.on_trial_remove(tune_controller, trial)

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """Take the trial out of its bracket."""
        self.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """A pending trial of the fullest bracket of the earliest band."""
        for band in self._hyperbands:
            brackets = [bracket for bracket in band if bracket is not None]
            for bracket in sorted(brackets, key=lambda each: each.completion_percentage()):
                for trial in bracket.current_trials():
                    if trial.status == Trial.PENDING:
                        return trial
        self._judge_stalled(tune_controller)
        return tune_controller.first_pending()

    def _judge_stalled(self, tune_controller: TuneController) -> None:
        """A bracket that gets no more trials is judged with those it has."""
        waiting = [trial for trial in tune_controller.get_live_trials() if trial.status != Trial.PAUSED]
        if waiting or not tune_controller.search_alg.is_finished():
            return
        for band in self._hyperbands:
            for bracket in band:
                if bracket is not None and bracket.current_trials() and bracket.cur_iter_done():
                    self._process_bracket(tune_controller, bracket)
                    return

    def debug_string(self) -> str:
        """The bands and brackets."""
        lines = [f"Using HyperBand: num_stopped={self._num_stopped} total_brackets={self._total_brackets()}"]
        for number, band in enumerate(self._hyperbands):
            lines.append(f"Round #{number}:")
            lines += [f"  {bracket}" for bracket in band if bracket is not None]
        return "\n".join(lines)

    def _total_brackets(self) -> int:
        return sum(bracket is not None for band in self._hyperbands for bracket in band)

    def state(self) -> dict[str, int]:
        """How many brackets there are, and trials were stopped."""
        return {"num_brackets": self._total_brackets(), "num_stopped": self._num_stopped}


class _Bracket:
    """Trials that are judged together.

    Args:
        time_attr: what counts as time.
        max_trials: how many it takes.
        init_t_attr: how long they run at first.
        max_t_attr: the most time a trial gets.
        eta: of those judged one in so many goes on.
        s: its number.
        stop_last_trials: whether trials end at `max_t_attr`.
    """

    def __init__(
        self,
        time_attr: str,
        max_trials: int,
        init_t_attr: int,
        max_t_attr: int,
        eta: float,
        s: int,
        stop_last_trials: bool = True,
    ) -> None:
        self._live_trials: dict[Trial, dict[str, Any] | None] = {}
        self._all_trials: list[Trial] = []
        self._time_attr = time_attr
        self._n = self._n0 = max_trials
        self._r = self._r0 = init_t_attr
        self._max_t_attr = max_t_attr
        self._cumul_r = init_t_attr
        self._eta = eta
        self._halves = s
        self._total_work = self._calculate_total_work(self._n0, self._r0, s)
        self._completed_progress = 0.0
        self.stop_last_trials = stop_last_trials
        self.is_being_processed = False

    def add_trial(self, trial: Trial) -> None:
        """Take a trial.

        Raises:
            TuneError: it is full.
        """
        if self.filled():
            raise TuneError("this bracket is full; the scheduler must open another one")
        self._live_trials[trial] = None
        self._all_trials.append(trial)

    def cur_iter_done(self) -> bool:
        """Whether all trials have used their time."""
        return all(self._time_of(result) >= self._cumul_r for result in self._live_trials.values())

    def finished(self) -> bool:
        """Whether the last round is over."""
        return self._halves == 0 and self.cur_iter_done() and self.stop_last_trials

    def is_last_round(self) -> bool:
        """Whether no round comes after this one."""
        return self._halves == 0

    def current_trials(self) -> list[Trial]:
        """Those that still take part."""
        return list(self._live_trials)

    def continue_trial(self, trial: Trial) -> bool:
        """Whether a trial has time left."""
        return self._time_of(self._live_trials[trial]) < self._cumul_r

    def filled(self) -> bool:
        """Whether it takes no more trials."""
        return len(self._all_trials) >= self._n0

    def successive_halving(self, metric: Any, metric_op: Any) -> tuple[list[Trial], list[Trial]]:
        """Begin the next round; returns (those that go on, those that do not)."""
        if self._halves == 0 and not self.stop_last_trials:
            return self.current_trials(), []
        self._halves -= 1
        going = max(1, int(np.ceil(len(self._live_trials) / self._eta)))
        self._n = going
        self._r = int(min(self._r * self._eta, self._max_t_attr - self._cumul_r))
        self._cumul_r += self._r
        ranked = sorted(self._live_trials, key=lambda trial: self._score(trial, metric, metric_op))
        return ranked[-going:], ranked[:-going]

    def _score(self, trial: Trial, metric: str, metric_op: float) -> float:
        result = self._live_trials[trial] or {}
        value = result.get(metric, math.nan)
        return -math.inf if math.isnan(value) else metric_op * value

    def update_trial_stats(self, trial: Trial, result: dict[str, Any]) -> None:
        """Take a result."""
        before = self._time_of(self._live_trials[trial])
        self._completed_progress += max(0, self._time_of(result) - before)
        self._live_trials[trial] = result

    def cleanup_trial(self, trial: Trial) -> None:
        """Take a trial out."""
        self._live_trials.pop(trial, None)

    def completion_percentage(self) -> float:
        """How much of the work is done."""
        return 1.0 if self.finished() else min(self._completed_progress / self._total_work, 1.0)

    def _time_of(self, result: dict[str, Any] | None) -> float:
        return 0 if result is None else result[self._time_attr]

    def _calculate_total_work(self, n: float, r: float, s: int) -> float:
        work, total = 0.0, r
        for _ in range(s + 1):
            work += n * r
            n = np.ceil(n / self._eta)
            r = min(r * self._eta, self._max_t_attr - total)
            total += r
        return max(work, 1.0)

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for trial in self._all_trials:
            counts[trial.status] = counts.get(trial.status, 0) + 1
        shown = ", ".join(f"{status}: {count}" for status, count in sorted(counts.items()))
        return (
            f"Bracket(Max Size (n)={self._n}, Milestone (r)={self._cumul_r}, "
            f"completed={self.completion_percentage():.1%}): {{{shown}}}"
        )
