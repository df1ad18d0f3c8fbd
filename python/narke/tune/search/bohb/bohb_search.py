"""`TuneBOHB`: kernel density estimates per budget (package hpbandster), for use with `HyperBandForBOHB`."""

from __future__ import annotations

import copy
import logging
import math
from typing import Any

from narke.tune.search._space_searcher import SpaceSearcher, domains_of, library, missing_package
from narke.tune.search.sample import Categorical, Float, Integer, LogUniform, Normal, Quantized

_missing: ImportError | None = None
try:
    from hpbandster.optimizers.config_generators.bohb import BOHB
except ImportError as _error:
    BOHB = None
    _missing = _error

__all__ = ["BOHB", "TuneBOHB"]

logger = logging.getLogger(__name__)


class _Job:
    """A result as hpbandster takes it."""

    def __init__(self, loss: float, budget: float, config: dict[str, Any]) -> None:
        self.result = {"loss": loss}
        self.kwargs = {"budget": budget, "config": config.copy()}
        self.exception = None


class TuneBOHB(SpaceSearcher):
    """Suggests what BOHB's estimator asks for. Use it with `HyperBandForBOHB`, which tells budgets.

    Args:
        space: ConfigSpace's ConfigurationSpace or a space of Tune; the experiment's if None.
        bohb_config: of hpbandster's BOHB.
        metric, mode: what is optimized; the experiment's if None.
        points_to_evaluate: configurations to try first.
        seed: of the space.
        max_concurrent: trials under way at once; 0 for no limit.

    Raises:
        ImportError: hpbandster or ConfigSpace is not installed.
    """

    _title = "BOHB"

    def __init__(
        self,
        space: Any = None,
        bohb_config: dict | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        seed: int | None = None,
        max_concurrent: int = 0,
    ) -> None:
        if BOHB is None:
            raise missing_package("TuneBOHB", "hpbandster ConfigSpace", _missing or ImportError("hpbandster"))
        self.trial_to_params: dict[str, dict[str, Any]] = {}
        self._bohb_config = bohb_config or {}
        self._seed = seed
        self.running: set[str] = set()
        self.paused: set[str] = set()
        self._max_concurrent = max_concurrent
        super().__init__(space, metric, mode, points_to_evaluate)

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Change the limit."""
        self._max_concurrent = max_concurrent
        return True

    def _setup(self, mode: Any) -> None:
        if self._seed is not None:
            self._space.seed(self._seed)
        self._optimizer = BOHB(self._space, **self._bohb_config)

    def _ask(self, trial_id: str) -> dict[str, Any] | None:
        if self._max_concurrent and len(self.running) >= self._max_concurrent:
            return None
        if self._points_to_evaluate:
            config = self._points_to_evaluate.pop(0)
        else:
            config, _ = self._optimizer.get_config(None)
        plain = {
            key: value.item() if hasattr(value, "item") else value for key, value in dict(config).items()
        }
        self.trial_to_params[trial_id] = copy.deepcopy(plain)
        self.running.add(trial_id)
        return plain

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Learn a value at a budget, from results that carry one."""
        if trial_id not in self.paused:
            self.running.add(trial_id)
        if "hyperband_info" not in result or result["hyperband_info"].get("seen"):
            return
        result["hyperband_info"]["seen"] = True
        if trial_id in self.trial_to_params and result.get(self._metric) is not None:
            self._optimizer.new_result(self.to_wrapper(trial_id, result))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Forget the trial."""
        self.trial_to_params.pop(trial_id, None)
        self.paused.discard(trial_id)
        self.running.discard(trial_id)

    def to_wrapper(self, trial_id: str, result: dict[str, Any]) -> _Job:
        """A result as hpbandster takes it."""
        value = result[self._metric]
        # BOHB minimizes.
        loss = math.inf if value != value else -self._metric_op * value
        return _Job(loss, result["hyperband_info"]["budget"], self.trial_to_params[trial_id])

    def on_pause(self, trial_id: str) -> None:
        """Note that the trial is paused."""
        self.paused.add(trial_id)
        self.running.discard(trial_id)

    def on_unpause(self, trial_id: str) -> None:
        """Note that the trial goes on."""
        self.paused.discard(trial_id)
        self.running.add(trial_id)

    @staticmethod
    def convert_search_space(spec: dict[str, Any]) -> Any:
        """The ConfigurationSpace of a space of Tune.

        Raises:
            ValueError: it has a grid, or a domain that ConfigSpace has not.
        """
        ConfigSpace = library("TuneBOHB", "ConfigSpace", "ConfigSpace")
        _, domains = domains_of(spec, "BOHB")
        space = ConfigSpace.ConfigurationSpace()
        for name, domain in domains.items():
            parameter = _parameter(ConfigSpace, name, domain)
            (space.add if hasattr(space, "add") else space.add_hyperparameter)(parameter)
        return space


def _parameter(package: Any, name: str, domain: Any) -> Any:
    sampler = domain.get_sampler()
    if isinstance(sampler, Quantized):
        logger.warning("ConfigSpace does not round parameters: %s is not rounded to %s", name, sampler.q)
        sampler = sampler.get_sampler()
    log = isinstance(sampler, LogUniform)
    if isinstance(domain, Float) and isinstance(sampler, Normal):
        mean, sd = sampler.mean, sampler.sd
        return package.NormalFloatHyperparameter(
            name, mu=mean, sigma=sd, lower=mean - 4 * sd, upper=mean + 4 * sd
        )
    if isinstance(domain, Float):
        return package.UniformFloatHyperparameter(name, lower=domain.lower, upper=domain.upper, log=log)
    if isinstance(domain, Integer):
        return package.UniformIntegerHyperparameter(name, lower=domain.lower, upper=domain.upper - 1, log=log)
    if isinstance(domain, Categorical):
        return package.CategoricalHyperparameter(name, choices=domain.categories)
    raise ValueError(
        f"TuneBOHB does not support parameters of type `{type(domain).__name__}` with samplers of type "
        f"`{type(sampler).__name__}` ({name})"
    )
