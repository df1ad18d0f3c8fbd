"""`DragonflySearch`: Dragonfly's Bayesian, genetic and random optimizers (package dragonfly-opt)."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import numpy as np

from narke.tune.search._space_searcher import PointSearcher, domains_of, library
from narke.tune.search.sample import Categorical, Float, Integer, LogUniform, Quantized

__all__ = ["DragonflySearch"]

logger = logging.getLogger(__name__)

# By optimizer and domain: where Dragonfly has the class.
_OPTIMIZERS = {
    ("random", "cartesian"): ("random_optimiser", "CPRandomOptimiser"),
    ("random", "euclidean"): ("random_optimiser", "EuclideanRandomOptimiser"),
    ("bandit", "cartesian"): ("gp_bandit", "CPGPBandit"),
    ("bandit", "euclidean"): ("gp_bandit", "EuclideanGPBandit"),
    ("genetic", "cartesian"): ("cp_ga_optimiser", "CPGAOptimiser"),
}


def _dragonfly() -> Any:
    return library("DragonflySearch", "dragonfly-opt", "dragonfly")


class DragonflySearch(PointSearcher):
    """Suggests what an optimizer of Dragonfly asks for.

    Args:
        optimizer: "random", "bandit", "genetic", or one of Dragonfly's that is made already, in its ask-tell mode.
        domain: "cartesian", or "euclidean" if all parameters are real numbers; with the name of an optimizer.
        space: Dragonfly's parameters, ``[{"name": "x", "type": "float", "min": 0, "max": 1}, ...]``, or a space of
            Tune; the experiment's if None.
        metric, mode: what is optimized; the experiment's if None.
        points_to_evaluate: configurations to try first.
        evaluated_rewards: values of `points_to_evaluate`, which are then known and not tried.
        random_state_seed: of the draws; Dragonfly draws from numpy's global generator.
        kwargs: for the optimizer's constructor.

    Raises:
        ImportError: dragonfly-opt is not installed.
        ValueError: no optimizer, or one that Dragonfly has not for the domain.
    """

    _title = "Dragonfly"

    def __init__(
        self,
        optimizer: Any = None,
        domain: str | None = None,
        space: list[dict[str, Any]] | dict[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        evaluated_rewards: list | None = None,
        random_state_seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        _dragonfly()
        if isinstance(optimizer, str) and (optimizer, domain) not in _OPTIMIZERS:
            known = ", ".join(f"{kind} on {where}" for kind, where in _OPTIMIZERS)
            raise ValueError(
                f"Dragonfly has no optimizer {optimizer!r} on the domain {domain!r}; there are {known}"
            )
        if optimizer is None:
            raise ValueError(
                "DragonflySearch needs optimizer=: 'random', 'bandit', 'genetic', or one of Dragonfly's"
            )
        if random_state_seed is not None:
            np.random.seed(random_state_seed)
        self._kind, self._domain, self._options = optimizer, domain, kwargs
        self._evaluated_rewards = evaluated_rewards
        super().__init__(space, metric, mode, points_to_evaluate)

    def _setup(self, mode: Any) -> None:
        self.init_dragonfly()

    def init_dragonfly(self) -> None:
        """Make the optimizer, and tell it the points that are known.

        Raises:
            ValueError: points and rewards do not fit.
        """
        from narke.tune.utils.util import validate_warmstart

        self._names = [each["name"] for each in self._space]
        self._optimizer = self._made() if isinstance(self._kind, str) else self._kind
        self._optimizer.initialise()
        if self._evaluated_rewards:
            validate_warmstart(self._names, self._points_to_evaluate, self._evaluated_rewards)  # type: ignore[arg-type]
            for point, reward in zip(self._points_to_evaluate, self._evaluated_rewards, strict=True):
                self._observe(point, reward, False)
            self._points_to_evaluate, self._evaluated_rewards = [], None

    def _made(self) -> Any:
        assert self._domain is not None
        module, name = _OPTIMIZERS[self._kind, self._domain]
        caller = importlib.import_module("dragonfly.exd.experiment_caller")
        config = _dragonfly().load_config({"domain": self._space})
        if self._domain == "euclidean":
            function = caller.EuclideanFunctionCaller(None, config.domain.list_of_domains[0])
        else:
            function = caller.CPFunctionCaller(None, config.domain, domain_orderings=config.domain_orderings)
        made = getattr(importlib.import_module(f"dragonfly.opt.{module}"), name)
        return made(function, ask_tell_mode=True, **self._options)

    def _ask(self, trial_id: str) -> dict[str, Any]:
        if self._points_to_evaluate:
            point = self._points_to_evaluate.pop(0)
            values = [point[name] for name in self._names]
        else:
            values = list(self._optimizer.ask())
        self._live[trial_id] = values
        plain = [each.item() if hasattr(each, "item") else each for each in values]
        return dict(zip(self._names, plain, strict=True))

    def _tell(self, trial_id: str, value: float) -> None:
        # Dragonfly maximizes.
        self._optimizer.tell([(self._live[trial_id], self._metric_op * value)])

    def _names_of_space(self) -> set[str]:
        return set(self._names)

    def _observe(self, point: dict[str, Any], value: float, error: bool) -> None:
        if not error:
            self._optimizer.tell([([point[name] for name in self._names], self._metric_op * value)])

    @staticmethod
    def convert_search_space(spec: dict[str, Any]) -> list[dict[str, Any]]:
        """Dragonfly's parameters of a space of Tune.

        Raises:
            ValueError: it has a grid, or a domain that Dragonfly has not.
        """
        _, domains = domains_of(spec, "Dragonfly")
        return [_parameter(name, domain) for name, domain in domains.items()]


def _parameter(name: str, domain: Any) -> dict[str, Any]:
    sampler = domain.get_sampler()
    if isinstance(sampler, (Quantized, LogUniform)):
        logger.warning("Dragonfly knows neither steps nor logarithms: %s is uniform", name)
    if isinstance(domain, Categorical):
        return {"name": name, "type": "discrete", "items": list(domain.categories)}
    if isinstance(domain, Float):
        return {"name": name, "type": "float", "min": domain.lower, "max": domain.upper}
    if isinstance(domain, Integer):
        return {"name": name, "type": "int", "min": domain.lower, "max": domain.upper - 1}
    raise ValueError(f"Dragonfly does not support parameters of type `{type(domain).__name__}` ({name})")
