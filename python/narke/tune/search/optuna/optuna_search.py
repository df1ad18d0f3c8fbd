"""`OptunaSearch`: Optuna's samplers, with fixed spaces, spaces defined by running, and several objectives."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from narke.tune.result import TRAINING_ITERATION
from narke.tune.search._space_searcher import SpaceSearcher, domains_of, library
from narke.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform, Quantized
from narke.tune.search.util import flattened, unflattened

__all__ = ["DEFINE_BY_RUN_WARN_THRESHOLD_S", "OptunaSearch"]

logger = logging.getLogger(__name__)
DEFINE_BY_RUN_WARN_THRESHOLD_S = 1


def _optuna() -> Any:
    return library("OptunaSearch", "optuna", "optuna")


class OptunaSearch(SpaceSearcher):
    """Suggests what an Optuna study asks for.

    Args:
        space: {name: optuna distribution}, a space of Tune, or a function of an Optuna trial that calls its
            ``suggest_...`` and may return constants; the experiment's if None.
        metric, mode: what is optimized; lists for several objectives.
        points_to_evaluate: configurations to try first.
        sampler: of Optuna; TPE if None.
        study_name: of the study; its name in a storage.
        storage: of Optuna; in memory if None.
        seed: of the default sampler.
        evaluated_rewards: values of `points_to_evaluate`, which are then known and not tried.

    Raises:
        ImportError: Optuna is not installed.
        ValueError: points and rewards do not fit.
    """

    _title = "Optuna"

    def __init__(
        self,
        space: dict[str, Any] | list | Callable | None = None,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        sampler: Any = None,
        study_name: str | None = None,
        storage: Any = None,
        seed: int | None = None,
        evaluated_rewards: list | None = None,
    ) -> None:
        optuna = _optuna()
        if isinstance(space, list):
            raise ValueError(
                "space as a list of optuna parameters is of versions long gone: pass a dict or a function"
            )
        if evaluated_rewards and len(evaluated_rewards) != len(points_to_evaluate or []):
            raise ValueError(
                f"there are {len(evaluated_rewards)} evaluated_rewards for {len(points_to_evaluate or [])} points"
            )
        self._evaluated_rewards = evaluated_rewards
        self._study_name = study_name or "optuna"
        if sampler is not None and not isinstance(sampler, optuna.samplers.BaseSampler):
            raise TypeError(
                f"a sampler derives from optuna.samplers.BaseSampler; {type(sampler).__name__} does not"
            )
        if sampler is not None and seed is not None:
            logger.warning("seed is for the default sampler: give it to your own sampler")
        self._sampler = sampler or optuna.samplers.TPESampler(seed=seed)
        self._seed = seed
        self._storage = storage or optuna.storages.InMemoryStorage()
        self._completed_trials: set[str] = set()
        self._ot_trials: dict[str, Any] = {}
        super().__init__(space, metric, mode, points_to_evaluate)

    @property
    def _ot_study(self) -> Any:
        return self._optimizer

    def _setup(self, mode: str | list[str] | None) -> None:
        optuna = _optuna()
        words = {"min": "minimize", "max": "maximize"}
        directions = [words[each] for each in mode] if isinstance(mode, list) else None
        aim = {"directions": directions} if directions else {"direction": words.get(str(mode), "minimize")}
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optimizer = optuna.create_study(
            storage=self._storage,
            sampler=self._sampler,
            pruner=optuna.pruners.NopPruner(),
            study_name=self._study_name,
            load_if_exists=True,
            **aim,
        )
        optuna.logging.set_verbosity(verbosity)
        rewards = self._evaluated_rewards or [None] * len(self._points_to_evaluate)
        for point, reward in zip(self._points_to_evaluate, rewards, strict=True):
            if reward is None:
                self._ot_study.enqueue_trial(point)
            else:
                self.add_evaluated_point(point, reward)
        self._points_to_evaluate, self._evaluated_rewards = [], None

    def _ask(self, trial_id: str) -> dict[str, Any]:
        if callable(self._space):
            return self._suggest_by_running(trial_id, self._space)
        if trial_id not in self._ot_trials:
            self._ot_trials[trial_id] = self._ot_study.ask(fixed_distributions=self._space)
        return self._ot_trials[trial_id].params

    def _suggest_by_running(self, trial_id: str, define: Callable) -> dict[str, Any]:
        if trial_id not in self._ot_trials:
            self._ot_trials[trial_id] = self._ot_study.ask()
        trial = self._ot_trials[trial_id]
        started = time.monotonic()
        returned = define(trial)
        if time.monotonic() - started > DEFINE_BY_RUN_WARN_THRESHOLD_S:
            logger.warning(
                "the function that defines the space took %.1f s: it shall not train, only call trial.suggest_...",
                time.monotonic() - started,
            )
        if returned is not None and not (
            isinstance(returned, dict) and all(isinstance(key, str) for key in returned)
        ):
            raise TypeError(
                f"the function defining the space returns None or a dict of constants, not {type(returned).__name__}"
            )
        return {**(returned or {}), **unflattened(trial.params)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Report an intermediate value to the study."""
        if isinstance(self._metric, list) or trial_id in self._completed_trials:
            return  # Optuna takes none of several objectives
        trial = self._ot_trials.get(trial_id)
        value = result.get(self._metric)
        if trial is not None and value is not None:
            trial.report(value, result[TRAINING_ITERATION])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study the value; a trial without one counts as failed, or as pruned if it was stopped."""
        optuna = _optuna()
        if trial_id in self._completed_trials or trial_id not in self._ot_trials:
            return
        value: Any = None
        if result:
            if isinstance(self._metric, list):
                value = [result.get(metric) for metric in self._metric]
                value = None if any(each is None for each in value) else value
            else:
                value = result.get(self._metric)
        state = optuna.trial.TrialState.COMPLETE
        if value is None:
            state = optuna.trial.TrialState.FAIL if error else optuna.trial.TrialState.PRUNED
        try:
            self._ot_study.tell(self._ot_trials[trial_id], value, state=state)
        except ValueError as failure:  # NaN, or a pruned trial without a value
            logger.warning("Optuna did not take the value %r of trial %s: %s", value, trial_id, failure)
            self._ot_study.tell(self._ot_trials[trial_id], state=optuna.trial.TrialState.FAIL)
        self._completed_trials.add(trial_id)

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: Any,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Learn from a point that was evaluated elsewhere.

        Raises:
            RuntimeError: the space is not known.
            TypeError: the space is defined by running: distributions are not known beforehand.
        """
        optuna = _optuna()
        self._check_ready()
        if callable(self._space):
            raise TypeError(
                "evaluated points need a space of distributions, not one that is defined by running"
            )
        state = optuna.trial.TrialState.COMPLETE
        if error:
            state = optuna.trial.TrialState.FAIL
        elif pruned:
            state = optuna.trial.TrialState.PRUNED
        flat = {key: each for key, each in flattened(parameters).items() if key in self._space}
        values = {"values": list(value)} if isinstance(value, (list, tuple)) else {"value": value}
        self._ot_study.add_trial(
            optuna.trial.create_trial(
                state=state,
                params=flat,
                distributions={key: self._space[key] for key in flat},
                intermediate_values=dict(enumerate(intermediate_values or [])),
                **({} if error else values),
            )
        )

    def _left_out(self) -> tuple[str, ...]:
        return () if _in_memory(self._storage) else ("_storage", "_optimizer")

    def restore(self, checkpoint_path: str) -> None:
        """Take the state from a file that `save` wrote."""
        super().restore(checkpoint_path)
        if self._ot_study is None and self._has_space():
            self._setup(self._mode)

    @staticmethod
    def convert_search_space(spec: dict[str, Any]) -> dict[str, Any]:
        """The Optuna distributions of a space of Tune, by name.

        Raises:
            ValueError: it has a grid, or a domain that Optuna has not.
        """
        _, domains = domains_of(spec, "Optuna")
        return {name: _distribution(name, domain) for name, domain in domains.items()}


def _in_memory(storage: Any) -> bool:
    return isinstance(storage, _optuna().storages.InMemoryStorage)


def _distribution(name: str, domain: Domain) -> Any:
    optuna = _optuna()
    sampler, step = domain.get_sampler(), None
    if isinstance(sampler, Quantized):
        step, sampler = sampler.q, sampler.get_sampler()
        if isinstance(sampler, LogUniform):
            logger.warning(
                "Optuna does not quantize logarithmic parameters: %s is not rounded to %s", name, step
            )
            step = None
    log = isinstance(sampler, LogUniform)
    if isinstance(domain, Float) and isinstance(sampler, (Float._Uniform, Float._LogUniform)):
        return optuna.distributions.FloatDistribution(domain.lower, domain.upper, log=log, step=step)
    if isinstance(domain, Integer) and isinstance(sampler, (Integer._Uniform, Integer._LogUniform)):
        # An upper bound is exclusive, a quantized one inclusive.
        upper = domain.upper if step and step > 1 else domain.upper - 1
        return optuna.distributions.IntDistribution(domain.lower, upper, log=log, step=int(step or 1))
    if isinstance(domain, Categorical):
        return optuna.distributions.CategoricalDistribution(domain.categories)
    raise ValueError(
        f"Optuna search does not support parameters of type `{type(domain).__name__}` with samplers of type "
        f"`{type(sampler).__name__}` ({name})"
    )
