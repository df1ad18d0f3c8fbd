"""`NevergradSearch`: Nevergrad's optimizers, which need no gradients."""

from __future__ import annotations

import logging
from typing import Any

from narke.tune.search._space_searcher import PointSearcher, domains_of, library
from narke.tune.search.sample import Categorical, Float, Integer, LogUniform, Quantized

__all__ = ["NevergradSearch"]

logger = logging.getLogger(__name__)


def _nevergrad() -> Any:
    return library("NevergradSearch", "nevergrad", "nevergrad")


class NevergradSearch(PointSearcher):
    """Suggests what an optimizer of Nevergrad asks for.

    Args:
        optimizer: class of Nevergrad's optimizers, or one of them made already; NGOpt if None.
        optimizer_kwargs: of the class, for instance budget, num_workers.
        space: list of parameter names for an optimizer that is made already, Nevergrad's parameter, or a space of Tune.
        metric, mode: what is optimized; the experiment's if None.
        points_to_evaluate: configurations to try first.

    Raises:
        ImportError: Nevergrad is not installed.
        ValueError: an optimizer that is made already was given a space of Tune, or arguments.
    """

    _title = "Nevergrad"

    def __init__(
        self,
        optimizer: Any = None,
        optimizer_kwargs: dict[str, Any] | None = None,
        space: Any = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
    ) -> None:
        ng = _nevergrad()
        self._opt_factory: Any = None
        self._nevergrad_opt: Any = None
        self._parameters: list[str] | None = None
        self._opt_kwargs = dict(optimizer_kwargs or {})
        if isinstance(optimizer, ng.optimizers.base.Optimizer):
            if self._opt_kwargs or (space is not None and not isinstance(space, list)):
                raise ValueError(
                    "If you pass an initialized Nevergrad optimizer, space must be None or a list of names, "
                    "and optimizer_kwargs must be None"
                )
            self._nevergrad_opt, self._parameters = optimizer, space
            space = space or optimizer.parametrization
        else:
            self._opt_factory = optimizer or ng.optimizers.NGOpt
            if optimizer is None:
                self._opt_kwargs.setdefault("budget", 100)  # NGOpt chooses its method by it
        super().__init__(space, metric, mode, points_to_evaluate)

    def _setup(self, mode: Any) -> None:
        if self._nevergrad_opt is None:
            self._nevergrad_opt = self._opt_factory(self._space, **self._opt_kwargs)
        self._optimizer = self._nevergrad_opt

    def _ask(self, trial_id: str) -> dict[str, Any] | None:
        if self._points_to_evaluate:
            point = self._points_to_evaluate.pop(0)
            self._nevergrad_opt.suggest(point) if self._parameters is None else self._nevergrad_opt.suggest(
                *[point[name] for name in self._parameters]
            )
        candidate = self._nevergrad_opt.ask()
        self._live[trial_id] = candidate
        if self._parameters is not None:
            return dict(zip(self._parameters, candidate.args[0], strict=True))
        return dict(candidate.value)

    def _tell(self, trial_id: str, value: float) -> None:
        # Nevergrad minimizes.
        self._nevergrad_opt.tell(self._live[trial_id], -self._metric_op * value)

    def _names_of_space(self) -> set[str]:
        return set(self._nevergrad_opt.parametrization.value)

    def _observe(self, point: dict[str, Any], value: float, error: bool) -> None:
        candidate = self._nevergrad_opt.parametrization.spawn_child(new_value=point)
        if not error:
            self._nevergrad_opt.tell(candidate, -self._metric_op * value)

    @staticmethod
    def convert_search_space(spec: dict[str, Any]) -> Any:
        """Nevergrad's parameter of a space of Tune.

        Raises:
            ValueError: it has a grid, or a domain that Nevergrad has not.
        """
        ng = _nevergrad()
        _, domains = domains_of(spec, "Nevergrad")
        return ng.p.Dict(**{name: _parameter(ng, name, domain) for name, domain in domains.items()})


def _parameter(ng: Any, name: str, domain: Any) -> Any:
    sampler = domain.get_sampler()
    if isinstance(sampler, Quantized):
        logger.warning("Nevergrad does not support quantization: %s is not rounded", name)
        sampler = sampler.get_sampler()
    if isinstance(domain, Categorical):
        return ng.p.Choice(domain.categories)
    if isinstance(domain, Float) and isinstance(sampler, LogUniform):
        return ng.p.Log(lower=domain.lower, upper=domain.upper)
    if isinstance(domain, Float) and isinstance(sampler, Float._Uniform):
        return ng.p.Scalar(lower=domain.lower, upper=domain.upper)
    if isinstance(domain, Integer) and isinstance(sampler, (Integer._Uniform, Integer._LogUniform)):
        kind = ng.p.Log if isinstance(sampler, LogUniform) else ng.p.Scalar
        return kind(lower=domain.lower, upper=domain.upper - 1).set_integer_casting()
    raise ValueError(
        f"Nevergrad does not support parameters of type `{type(domain).__name__}` with samplers of type "
        f"`{type(sampler).__name__}` ({name})"
    )
