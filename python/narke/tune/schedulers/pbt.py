"""`PopulationBasedTraining`: trials take over the state of better ones, with changed configurations.

After Jaderberg et al., "Population Based Training of Neural Networks" (2017).
"""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from narke.tune.error import TuneError
from narke.tune.experiment.trial import Trial
from narke.tune.logger.logger import safe_json
from narke.tune.result import TRAINING_ITERATION
from narke.tune.schedulers._mutations import check_mutations, explore, fill_config, perturbed_tag
from narke.tune.schedulers.trial_scheduler import ComparingScheduler, FIFOScheduler, TrialScheduler

if TYPE_CHECKING:
    from narke.tune.execution.tune_controller import TuneController

__all__ = ["PopulationBasedTraining", "PopulationBasedTrainingReplay"]

logger = logging.getLogger(__name__)


class _Member:
    """What is known of a trial of the population."""

    def __init__(self, trial: Trial) -> None:
        self.orig_tag = trial.experiment_tag
        self.last_score: float | None = None
        self.last_perturbation_time = 0.0
        self.last_train_time = 0.0
        self.last_result: dict[str, Any] | None = None
        self.turn = 0  # at which it was looked at last


class PopulationBasedTraining(ComparingScheduler):
    """Every `perturbation_interval`, trials in the lower quantile go on from the checkpoint of one in the upper
    quantile, with its configuration changed.

    Args:
        time_attr: what counts as time in results.
        metric, mode: what is compared; the experiment's if None.
        perturbation_interval: time between changes.
        burn_in_period: time before the first change.
        hyperparam_mutations: by key: list of values, search space, function that draws, or a dict of such.
        quantile_fraction: size of the upper and lower quantile, at most 0.5; 0 changes nothing.
        resample_probability: of drawing a value anew instead of changing it.
        perturbation_factors: that numbers are multiplied with.
        custom_explore_fn: gets the changed configuration and returns the final one.
        log_config: write the changes into the experiment's folder.
        require_attrs: refuse results without time or metric.
        synch: change all trials at the same time; else each when its interval is over.

    Raises:
        TypeError, ValueError: a value is out of its range.
    """

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: str | None = None,
        perturbation_interval: float = 60.0,
        burn_in_period: float = 0.0,
        hyperparam_mutations: dict[str, Any] | None = None,
        quantile_fraction: float = 0.25,
        resample_probability: float = 0.25,
        perturbation_factors: tuple[float, float] = (1.2, 0.8),
        custom_explore_fn: Callable | None = None,
        log_config: bool = True,
        require_attrs: bool = True,
        synch: bool = False,
    ) -> None:
        mutations = hyperparam_mutations or {}
        check_mutations(mutations)
        if not mutations and not custom_explore_fn:
            raise TuneError(
                "You must specify at least one of `hyperparam_mutations` or `custom_explore_fn` to use PBT."
            )
        if quantile_fraction > 0.5 or quantile_fraction < 0:
            raise ValueError(
                f"You must set `quantile_fraction` to a value between 0 and 0.5, not {quantile_fraction}"
            )
        if perturbation_interval <= 0:
            raise ValueError(
                f"perturbation_interval must be a positive number greater than 0, not {perturbation_interval}"
            )
        super().__init__(time_attr, metric, mode)
        self._perturbation_interval = perturbation_interval
        self._burn_in_period = burn_in_period
        self._hyperparam_mutations = mutations
        self._quantile_fraction = quantile_fraction
        self._resample_probability = resample_probability
        self._perturbation_factors = tuple(perturbation_factors)
        self._custom_explore_fn = custom_explore_fn
        self._log_config = log_config
        self._require_attrs = require_attrs
        self._synch = synch
        self._next_perturbation_sync = max(perturbation_interval, burn_in_period)
        self._trial_state: dict[Trial, _Member] = {}
        self._num_checkpoints = 0
        self._num_perturbations = 0
        self._turn = 0

    # ---- what happens

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """Draw what the trial's configuration lacks.

        Raises:
            ValueError: metric or mode is not known.
        """
        super().on_trial_add(tune_controller, trial)
        config = copy.copy(trial.config)
        drawn = fill_config(config, self._hyperparam_mutations)
        if drawn:
            trial.evaluated_params.update(drawn)
            trial.set_config(config)
        member = _Member(trial)
        if trial.last_result:  # restored: its time goes on
            member.last_perturbation_time = member.last_train_time = trial.last_result.get(self._time_attr, 0)
        self._trial_state[trial] = member

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Let the trial go on, or have it take over another's state when its interval is over.

        Raises:
            RuntimeError: the result lacks time or metric.
        """
        missing = [name for name in (self._time_attr, self._metric) if name not in result]
        if missing:
            if not self._require_attrs:
                return TrialScheduler.CONTINUE
            raise RuntimeError(
                f"Cannot find {missing} in trial result {sorted(result)}. Make sure that these are in the returned "
                "result, or set `require_attrs=False`."
            )
        member, now = self._trial_state[trial], result[self._time_attr]
        if now < self._burn_in_period:
            return TrialScheduler.CONTINUE
        if now - member.last_perturbation_time < self._perturbation_interval:
            return TrialScheduler.CONTINUE
        self._take(member, now, result)
        if self._synch:
            return self._on_synch(tune_controller, trial)
        member.last_perturbation_time = now
        return self._judge(tune_controller, trial)

    def _take(self, member: _Member, now: float, result: dict[str, Any]) -> None:
        score = self._metric_op * result[self._metric]
        member.last_score = None if math.isnan(score) else score
        member.last_train_time = now
        member.last_result = result
        self._turn += 1
        member.turn = self._turn

    def _judge(self, controller: TuneController, trial: Trial) -> str:
        lower, upper = self._quantiles()
        if trial in upper:
            self._num_checkpoints += 1
            if self._others_wait(controller, trial):
                return TrialScheduler.PAUSE
            controller.save_trial(trial)
            return TrialScheduler.NOOP
        if trial in lower and self._exploit(controller, trial, random.choice(upper)):
            return TrialScheduler.NOOP
        return TrialScheduler.PAUSE if self._others_wait(controller, trial) else TrialScheduler.CONTINUE

    @staticmethod
    def _others_wait(controller: TuneController, trial: Trial) -> bool:
        """Whether a trial must give its place to another one of the population."""
        return any(other is not trial for other in controller.candidates())

    def _on_synch(self, controller: TuneController, trial: Trial) -> str:
        """Wait until all have got as far, then change them all."""
        behind = [
            other
            for other in controller.get_live_trials()
            if self._trial_state[other].last_train_time < self._next_perturbation_sync and other is not trial
        ]
        if behind:
            return TrialScheduler.PAUSE
        lower, upper = self._quantiles()
        everyone = sorted(self._trial_state, key=lambda each: each.trial_id)
        times = [self._trial_state[each].last_train_time for each in everyone if not each.is_finished()]
        stays = TrialScheduler.PAUSE
        for other in everyone:
            if other.is_finished():
                continue
            member = self._trial_state[other]
            member.last_perturbation_time = max(times)
            if other in lower and upper and self._exploit(controller, other, random.choice(upper)):
                stays = TrialScheduler.NOOP if other is trial else stays
        self._next_perturbation_sync = max(
            self._next_perturbation_sync + self._perturbation_interval, max(times)
        )
        return stays

    def _quantiles(self) -> tuple[list[Trial], list[Trial]]:
        """The trials of the lower and of the upper quantile."""
        known = [
            t
            for t, member in self._trial_state.items()
            if member.last_score is not None and not t.is_finished()
        ]
        known.sort(key=lambda trial: self._trial_state[trial].last_score or 0.0)
        if len(known) <= 1:
            return [], []
        size = int(math.ceil(len(known) * self._quantile_fraction))
        if size > len(known) / 2:
            size = int(math.floor(len(known) / 2))
        return (known[:size], known[-size:]) if size else ([], [])

    # ---- taking over

    def _exploit(self, controller: TuneController, trial: Trial, donor: Trial) -> bool:
        """Have a trial go on from another's checkpoint with a changed configuration; False if there is none."""
        given = donor.latest_checkpoint_result
        if given is None or given.checkpoint is None:
            logger.info("[pbt] no checkpoint for trial %s. Skip exploit for Trial %s", donor, trial)
            return False
        config, operations = self._get_new_config(trial, donor)
        tag = perturbed_tag(self._trial_state[trial].orig_tag, config, self._hyperparam_mutations)
        self._tell(trial, donor, config, operations)
        if self._log_config:
            self._log(trial, donor, config)
        if trial.status != Trial.PAUSED:
            controller.pause_trial(trial, should_checkpoint=False)
        trial.set_experiment_tag(tag)
        trial.set_config(config)
        given.pins += 1
        if trial.resume_from is not None and trial.resume_from.pins:
            trial.resume_from.pins -= 1
        trial.resume_from = given
        self._num_perturbations += 1
        member = self._trial_state[trial]
        member.last_train_time = self._trial_state[donor].last_train_time
        member.last_perturbation_time = self._trial_state[donor].last_train_time
        member.last_score = self._trial_state[donor].last_score
        return True

    def _get_new_config(self, trial: Trial, trial_to_clone: Trial) -> tuple[dict, dict]:
        """The donor's configuration, changed, and what was done; subclasses change it in their way."""
        return explore(
            trial_to_clone.config,
            self._hyperparam_mutations,
            self._resample_probability,
            self._perturbation_factors,  # type: ignore[arg-type]
            self._custom_explore_fn,
        )

    def _tell(self, trial: Trial, donor: Trial, config: dict, operations: dict) -> None:
        logger.info(
            "[PopulationBasedTraining] Exploit: %s (score = %s) -> %s (score = %s); %s",
            donor,
            self._trial_state[donor].last_score,
            trial,
            self._trial_state[trial].last_score,
            "; ".join(
                f"{key}: {donor.config.get(key)} --- ({done}) --> {config.get(key)}"
                for key, done in operations.items()
            ),
        )

    def _log(self, trial: Trial, donor: Trial, config: dict) -> None:
        """Append the change to pbt_global.txt and to pbt_policy_<id>.txt, which replay reads."""
        folder = trial.local_experiment_path
        if folder is None:
            return
        os.makedirs(folder, exist_ok=True)
        entry = json.dumps(
            [
                self._trial_state[trial].orig_tag,
                self._trial_state[donor].orig_tag,
                (trial.last_result or {}).get(TRAINING_ITERATION, 0),
                (donor.last_result or {}).get(TRAINING_ITERATION, 0),
                donor.config,
                config,
            ],
            default=safe_json,
        )
        policy = os.path.join(folder, f"pbt_policy_{trial.trial_id}.txt")
        donor_policy = os.path.join(folder, f"pbt_policy_{donor.trial_id}.txt")
        # The history of a trial that took over another's state is that one's.
        history = ""
        if os.path.exists(donor_policy):
            with open(donor_policy, encoding="utf-8") as file:
                history = file.read()
        with open(policy, "w", encoding="utf-8") as file:
            file.write(history + entry + "\n")
        with open(os.path.join(folder, "pbt_global.txt"), "a", encoding="utf-8") as file:
            file.write(entry + "\n")

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """The waiting trial that has run least."""
        waiting = [
            trial
            for trial in tune_controller.candidates()
            if not self._synch or self._trial_state[trial].last_train_time < self._next_perturbation_sync
        ]
        return min(waiting, key=self._place_in_line, default=None)

    def _place_in_line(self, trial: Trial) -> tuple[float, int]:
        """Least time first; of equals the one that has waited longest: those that are set back again and again would
        otherwise keep the better ones, whose time they get, from going on for ever."""
        member = self._trial_state[trial]
        return member.last_train_time, member.turn

    def on_trial_complete(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> None:
        """In a synchronous population, the others wait no longer for a trial that ended."""
        self._go_on_without(tune_controller, trial)

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """In a synchronous population, the others wait no longer for a trial that failed."""
        self._go_on_without(tune_controller, trial)

    def _go_on_without(self, controller: TuneController, trial: Trial) -> None:
        rest = [other for other in controller.get_live_trials() if other is not trial]
        if self._synch and rest:
            least = min(self._trial_state[other].last_train_time for other in rest)
            if least >= self._next_perturbation_sync:
                self._next_perturbation_sync = least + self._perturbation_interval

    # ---- looking

    def reset_stats(self) -> None:
        """Forget the counts."""
        self._num_perturbations = self._num_checkpoints = 0

    def last_scores(self, trials: list[Trial]) -> list[float]:
        """The last scores of trials; greater is better."""
        scores = [self._trial_state[trial].last_score for trial in trials if not trial.is_finished()]
        return [score for score in scores if score is not None]

    def debug_string(self) -> str:
        """How many checkpoints were made and states taken over."""
        return f"PopulationBasedTraining: {self._num_checkpoints} checkpoints, {self._num_perturbations} perturbs"


class PopulationBasedTrainingReplay(FIFOScheduler):
    """Runs one trial through the changes that a member of a population went through.

    Args:
        policy_file: a ``pbt_policy_<id>.txt`` of a population.

    Raises:
        ValueError: there is no such file.
    """

    def __init__(self, policy_file: str) -> None:
        path = os.path.expanduser(str(policy_file))
        if not os.path.exists(path):
            raise ValueError(f"Policy file not found: {path}")
        self.policy_file = path
        initial, self._policy = self._load_policy(path)
        self.experiment_tag = "replay_" + os.path.basename(path)
        self.config = initial
        self.current_config = self.config
        self._trial: Trial | None = None
        self._current_step = 0
        self._num_perturbations = 0
        self._next = self._policy.pop(0) if self._policy else None

    @staticmethod
    def _load_policy(path: str) -> tuple[dict[str, Any], list[tuple[int, dict[str, Any]]]]:
        """The first configuration, and (iteration, configuration) of each change."""
        with open(path, encoding="utf-8") as file:
            rows = [json.loads(line) for line in file if line.strip()]
        if not rows:
            raise ValueError(f"the policy file {path} is empty: that trial was never changed")
        policy: list[tuple[int, dict[str, Any]]] = []
        for _, _, _, donor_at, _, new in rows:
            policy.append((donor_at, new))
        return rows[0][4], policy

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """Give the trial the first configuration.

        Raises:
            ValueError: there is a trial already.
        """
        if self._trial is not None:
            raise ValueError("a replay runs one trial; set num_samples to 1 and give no search space")
        self._trial = trial
        trial.set_config({**trial.config, **self.config})
        trial.set_experiment_tag(self.experiment_tag)

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Change the configuration when its iteration has come."""
        if TRAINING_ITERATION not in result or self._next is None:
            return TrialScheduler.CONTINUE
        step = result[TRAINING_ITERATION]
        self._current_step = step
        change_at, config = self._next
        if step < change_at:
            return TrialScheduler.CONTINUE
        logger.info("[replay] changing the configuration of %s at iteration %s: %s", trial, step, config)
        tune_controller.pause_trial(trial, should_checkpoint=True)
        trial.set_experiment_tag(perturbed_tag(self.experiment_tag, config, config))
        trial.set_config({**trial.config, **config})
        self.current_config = config
        self._num_perturbations += 1
        self._next = self._policy.pop(0) if self._policy else None
        return TrialScheduler.NOOP

    def debug_string(self) -> str:
        """How far the replay is."""
        return f"PopulationBasedTraining replay: Step {self._current_step}, perturb {self._num_perturbations}"
