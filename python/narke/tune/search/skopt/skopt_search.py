"""`SkOptSearch`: sequential model-based optimization by scikit-optimize (import name skopt)."""

from __future__ import annotations

import logging
from typing import Any

from narke.tune.search._space_searcher import ModelSearcher, converted, library
from narke.tune.search.sample import Categorical, Float, Integer, LogUniform, Quantized
from narke.tune.utils.util import validate_warmstart

__all__ = ["SkOptSearch"]

logger = logging.getLogger(__name__)


def _skopt() -> Any:
    return library("SkOptSearch", "scikit-optimize", "skopt")


class SkOptSearch(ModelSearcher):
    """Suggests what an optimizer of scikit-optimize asks for.

    Args:
        optimizer: a ``skopt.Optimizer`` made already; then `space` is the list of its parameters' names.
        space: {name: dimension or (low, high)}, a space of Tune, or names; the experiment's if None.
        metric, mode: what is optimized; the experiment's if None.
        points_to_evaluate: configurations to try first.
        evaluated_rewards: values of `points_to_evaluate`, which are then known and not tried.
        convert_to_python: give plain numbers in place of numpy's.

    Raises:
        ImportError: scikit-optimize is not installed.
        ValueError: an optimizer without the names of its parameters, or points and rewards that do not fit.
    """

    _title = "SkOpt"

    def __init__(
        self,
        optimizer: Any = None,
        space: list[str] | dict[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        evaluated_rewards: list | None = None,
        convert_to_python: bool = True,
    ) -> None:
        _skopt()
        if optimizer is not None and not isinstance(space, list):
            raise ValueError(
                "an optimizer that is made already needs space=, the list of its parameters' names"
            )
        self._given = optimizer
        self._evaluated_rewards = evaluated_rewards
        self._convert = convert_to_python
        super().__init__(space, metric, mode, points_to_evaluate)

    def _setup(self, mode: Any) -> None:
        self._names = list(self._space)
        if self._given is None:
            self._given = _skopt().Optimizer([self._space[name] for name in self._names])
        self._optimizer = self._given
        if self._evaluated_rewards:
            validate_warmstart(self._names, self._points_to_evaluate, self._evaluated_rewards)  # type: ignore[arg-type]
            for point, reward in zip(self._points_to_evaluate, self._evaluated_rewards, strict=True):
                self._observe(point, reward, False)
            self._points_to_evaluate, self._evaluated_rewards = [], None

    def _ask(self, trial_id: str) -> dict[str, Any]:
        if self._points_to_evaluate:
            point = self._points_to_evaluate.pop(0)
            values = [point[name] for name in self._names]
        else:
            values = self._optimizer.ask()
        self._live[trial_id] = values
        plain = [each.item() if self._convert and hasattr(each, "item") else each for each in values]
        return dict(zip(self._names, plain, strict=True))

    def _tell(self, trial_id: str, value: float) -> None:
        # scikit-optimize minimizes.
        self._optimizer.tell(self._live[trial_id], -self._metric_op * value)

    def _observe(self, point: dict[str, Any], value: float, error: bool) -> None:
        if not error:
            self._optimizer.tell([point[name] for name in self._names], -self._metric_op * value)

    @staticmethod
    def convert_search_space(spec: dict[str, Any], join: bool = False) -> dict[str, Any]:
        """The dimensions of a space of Tune by name.

        Args:
            spec: it.
            join: with the constants.

        Raises:
            ValueError: it has a grid, or a domain that scikit-optimize has not.
        """
        return converted(spec, "SkOpt", _dimension, join)


def _dimension(name: str, domain: Any) -> Any:
    space, sampler = _skopt().space, domain.get_sampler()
    if isinstance(sampler, Quantized):
        logger.warning("SkOpt search does not support quantization: %s is not rounded", name)
        sampler = sampler.get_sampler()
    prior = "log-uniform" if isinstance(sampler, LogUniform) else "uniform"
    if isinstance(domain, Categorical):
        return space.Categorical(domain.categories, name=name)
    uniform = isinstance(sampler, (Float._Uniform, Float._LogUniform, Integer._Uniform, Integer._LogUniform))
    if isinstance(domain, Float) and uniform:
        return space.Real(domain.lower, domain.upper, prior=prior, name=name)
    if isinstance(domain, Integer) and uniform:
        return space.Integer(domain.lower, domain.upper - 1, prior=prior, name=name)
    raise ValueError(
        f"SkOpt does not support parameters of type `{type(domain).__name__}` with samplers of type "
        f"`{type(sampler).__name__}` ({name})"
    )
