"""`HyperOptSearch`: HyperOpt's tree of Parzen estimators, with conditional spaces."""

from __future__ import annotations

import copy
import logging
from functools import partial
from typing import Any

import numpy as np

from narke.tune.search._space_searcher import SpaceSearcher, library
from narke.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform, Normal, Quantized
from narke.tune.search.util import flattened, merged_config, unflattened
from narke.tune.search.variant_generator import parse_spec_vars

__all__ = ["HYPEROPT_UNDEFINED_DETAILS", "HyperOptSearch"]

logger = logging.getLogger(__name__)
HYPEROPT_UNDEFINED_DETAILS = (
    " This issue can also come up with HyperOpt if your search space only contains constant variables, which is not "
    "supported by HyperOpt. In that case, don't pass any searcher or add sample variables to the search space."
)


def _hyperopt() -> Any:
    return library("HyperOptSearch", "hyperopt", "hyperopt")


class HyperOptSearch(SpaceSearcher):
    """Suggests what HyperOpt's TPE asks for.

    Args:
        space: of HyperOpt (``hp.uniform(...)`` and the like) or of Tune; the experiment's if None.
        metric, mode: what is optimized; the experiment's if None.
        points_to_evaluate: configurations to try first; for ``hp.choice`` the index of the choice.
        n_initial_points: random points before TPE begins.
        random_state_seed: seed.
        gamma: fraction of the points that count as good.

    Raises:
        ImportError: HyperOpt is not installed.
    """

    _title = "HyperOpt"
    _space_hint = HYPEROPT_UNDEFINED_DETAILS

    def __init__(
        self,
        space: dict[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        n_initial_points: int = 20,
        random_state_seed: int | None = None,
        gamma: float = 0.25,
    ) -> None:
        hpo = _hyperopt()
        self.rstate = np.random.RandomState(random_state_seed)
        self.algo = partial(hpo.tpe.suggest, n_startup_jobs=n_initial_points, gamma=gamma)
        self.domain: Any = None
        self._categories: dict[str, list] = {}
        super().__init__(space, metric, mode, points_to_evaluate)

    @property
    def _hpopt_trials(self) -> Any:
        return self._optimizer

    def _take_space(self, config: dict[str, Any]) -> Any:
        # Constants stay in the space: HyperOpt hands them back.
        self._categories = _categories_of(config)
        return self.convert_search_space(config)

    def _setup(self, mode: Any) -> None:
        hpo = _hyperopt()
        if self._points_to_evaluate:
            points = [self._indexed(point) for point in self._points_to_evaluate]
            self._optimizer = (
                hpo.fmin_generate(points) if hasattr(hpo, "fmin_generate") else _calculated(hpo, points)
            )
            self._optimizer.refresh()
        else:
            self._optimizer = hpo.Trials()
        self._pending_points = len(self._points_to_evaluate)
        self.domain = hpo.Domain(lambda spc: spc, self._space)

    def _indexed(self, point: dict[str, Any]) -> dict[str, Any]:
        """A point with the index in place of each category, as HyperOpt wants it."""
        flat = flattened(point)
        return {
            name: self._categories[name].index(value)
            if name in self._categories and value in self._categories[name]
            else value
            for name, value in flat.items()
        }

    def _ask(self, trial_id: str) -> dict[str, Any]:
        hpo = _hyperopt()
        if self._pending_points > 0:
            place = len(self._points_to_evaluate) - self._pending_points
            self._pending_points -= 1
            new_trial = self._hpopt_trials.trials[place]
        else:
            new_ids = self._hpopt_trials.new_trial_ids(1)
            self._hpopt_trials.refresh()
            made = self.algo(new_ids, self.domain, self._hpopt_trials, self.rstate.randint(2**31 - 1))
            self._hpopt_trials.insert_trial_docs(made)
            self._hpopt_trials.refresh()
            new_trial = made[0]
        self._live[trial_id] = new_trial["tid"]
        config = hpo.base.spec_from_misc(new_trial["misc"])
        memo = self.domain.memo_from_config(config)
        suggested = hpo.pyll.rec_eval(self.domain.expr, memo=memo)
        return _plain(suggested)

    def _trial_of(self, trial_id: str) -> Any:
        tid = self._live.get(trial_id)
        return next((each for each in self._hpopt_trials._dynamic_trials if each["tid"] == tid), None)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note that the trial runs."""
        hpo = _hyperopt()
        trial = self._trial_of(trial_id)
        if trial is not None:
            trial["state"] = hpo.base.JOB_STATE_RUNNING
            trial["refresh_time"] = hpo.utils.coarse_utcnow()

    def _tell(self, trial_id: str, value: float) -> None:
        # HyperOpt minimizes.
        self._end(trial_id, _hyperopt().JOB_STATE_DONE)["result"] = {
            "loss": -self._metric_op * value,
            "status": "ok",
        }
        self._hpopt_trials.refresh()

    def _tell_failure(self, trial_id: str) -> None:
        self._end(trial_id, _hyperopt().JOB_STATE_ERROR)["misc"]["error"] = (str(TypeError), "Tune Error")
        self._hpopt_trials.refresh()
        super()._tell_failure(trial_id)

    def _end(self, trial_id: str, state: int) -> Any:
        trial = self._trial_of(trial_id)
        trial["refresh_time"] = _hyperopt().utils.coarse_utcnow()
        trial["state"] = state
        return trial

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` takes."""
        return {name: value for name, value in vars(self).items() if name not in ("domain", "algo")}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take a state of `get_state`."""
        vars(self).update(state)

    def _left_out(self) -> tuple[str, ...]:
        return ("algo",)

    @staticmethod
    def convert_search_space(spec: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        """The HyperOpt space of a space of Tune.

        Args:
            spec: it.
            prefix: before the names of the parameters.

        Raises:
            ValueError: it has a grid, or a domain that HyperOpt has not.
        """
        _, domains, grids = parse_spec_vars(spec)
        if grids:
            raise ValueError(
                "Grid search parameters cannot be automatically converted to a HyperOpt search space."
            )
        constants = copy.deepcopy(_without_domains(spec))
        converted = {}
        for path, domain in domains:
            name = "/".join([*([prefix] if prefix else []), *map(str, path)])
            converted["/".join(map(str, path))] = _converted(name, domain)
        return merged_config(constants, unflattened(converted))


def _without_domains(spec: Any) -> Any:
    if isinstance(spec, dict):
        return {key: _without_domains(value) for key, value in spec.items() if not isinstance(value, Domain)}
    return spec


def _categories_of(spec: dict[str, Any]) -> dict[str, list]:
    _, domains, _ = parse_spec_vars(spec)
    return {
        "/".join(map(str, path)): list(domain.categories)
        for path, domain in domains
        if isinstance(domain, Categorical)
    }


def _calculated(hpo: Any, points: list[dict[str, Any]]) -> Any:
    from hyperopt.fmin import generate_trials_to_calculate

    return generate_trials_to_calculate(points)


def _plain(value: Any) -> Any:
    """A suggestion with lists for HyperOpt's tuples, and plain numbers for numpy's."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    return list(map(_plain, value)) if isinstance(value, tuple) else value


def _converted(name: str, domain: Any) -> Any:
    hp = _hyperopt().hp
    sampler, q = domain.get_sampler(), None
    if isinstance(sampler, Quantized):
        q, sampler = sampler.q, sampler.get_sampler()
    if isinstance(domain, Float):
        return _float(hp, name, domain, sampler, q)
    if isinstance(domain, Integer):
        return _integer(hp, name, domain, sampler, q)
    if isinstance(domain, Categorical):
        return hp.choice(name, [_category(name, at, each) for at, each in enumerate(domain.categories)])
    raise ValueError(
        f"HyperOpt does not support parameters of type `{type(domain).__name__}` with samplers of type "
        f"`{type(sampler).__name__}` ({name})"
    )


def _category(name: str, at: int, category: Any) -> Any:
    if isinstance(category, dict):
        return HyperOptSearch.convert_search_space(category, prefix=f"{name}/{at}")
    if isinstance(category, Domain):
        return _converted(f"{name}/{at}", category)
    return category


def _float(hp: Any, name: str, domain: Float, sampler: Any, q: float | None) -> Any:
    if isinstance(sampler, Normal):
        return (
            hp.qnormal(name, sampler.mean, sampler.sd, q) if q else hp.normal(name, sampler.mean, sampler.sd)
        )
    if isinstance(sampler, LogUniform):
        low, high = np.log(domain.lower), np.log(domain.upper)
        return hp.qloguniform(name, low, high, q) if q else hp.loguniform(name, low, high)
    return (
        hp.quniform(name, domain.lower, domain.upper, q)
        if q
        else hp.uniform(name, domain.lower, domain.upper)
    )


def _integer(hp: Any, name: str, domain: Integer, sampler: Any, q: float | None) -> Any:
    scope = _hyperopt().pyll.scope
    # An upper bound is exclusive, a quantized one inclusive.
    upper = domain.upper if q and q > 1 else domain.upper - 1
    if isinstance(sampler, LogUniform):
        return scope.int(hp.qloguniform(name, np.log(domain.lower), np.log(upper), q or 1.0))
    if q and q > 1:
        return scope.int(hp.quniform(name, domain.lower, upper, q))
    return scope.int(hp.uniformint(name, domain.lower, upper))
