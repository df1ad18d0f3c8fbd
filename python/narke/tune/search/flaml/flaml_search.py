"""`BlendSearch` and `CFO`: FLAML's economical searches."""

from __future__ import annotations

from typing import Any

from narke.tune.search._space_searcher import SpaceSearcher, converted, library
from narke.tune.search.sample import Categorical, Float, Integer, LogUniform, Quantized
from narke.tune.search.util import flattened, unflattened

__all__ = ["CFO", "BlendSearch"]


class _Flaml(SpaceSearcher):
    """Suggests what a searcher of FLAML does.

    Args:
        metric, mode: what is optimized; the experiment's if None.
        space: FLAML's or Tune's; the experiment's if None.
        points_to_evaluate: configurations to try first.
        options: of FLAML's class: ``low_cost_partial_config``, ``cat_hp_cost``, ``evaluated_rewards``,
            ``time_budget_s``, ``num_samples``, ``resource_attr``, ``min_resource``, ``max_resource``,
            ``reduction_factor``, ``global_search_alg``, ``config_constraints``, ``metric_constraints``, ``seed`` and
            others.

    Raises:
        ImportError: FLAML is not installed.
    """

    _title = "FLAML"

    def __init__(
        self,
        metric: str | None = None,
        mode: str | None = None,
        space: dict[str, Any] | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        library(type(self).__name__, "flaml", "flaml")
        self._options = options
        super().__init__(space, metric, mode, points_to_evaluate)

    def _setup(self, mode: Any) -> None:
        made = getattr(library(type(self).__name__, "flaml", "flaml"), type(self).__name__)
        points = [unflattened(point) for point in self._points_to_evaluate] or None
        self._optimizer = made(
            metric=self._metric, mode=mode, space=self._space, points_to_evaluate=points, **self._options
        )

    def _ask(self, trial_id: str) -> dict[str, Any] | None:
        config = self._optimizer.suggest(trial_id)
        if config is None:
            return None
        self._live[trial_id] = config
        return {
            name: value.item() if hasattr(value, "item") else value
            for name, value in flattened(config).items()
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell FLAML of a result before the last."""
        if trial_id in self._live:
            self._optimizer.on_trial_result(trial_id, self._told(trial_id, result))

    def _tell_last(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell FLAML the value, and what the trial cost."""
        self._optimizer.on_trial_complete(trial_id, self._told(trial_id, result))

    def _tell_failure(self, trial_id: str) -> None:
        self._optimizer.on_trial_complete(trial_id, None, error=True)
        super()._tell_failure(trial_id)

    def _told(self, trial_id: str, result: dict[str, Any]) -> dict[str, Any]:
        return {"time_total_s": 1.0, **result, "config": self._live[trial_id]}

    @staticmethod
    def convert_search_space(spec: dict[str, Any], join: bool = False) -> dict[str, Any]:
        """FLAML's domains of a space of Tune by name.

        Args:
            spec: it.
            join: with the constants.

        Raises:
            ValueError: it has a grid, or a domain that FLAML has not.
        """
        return unflattened(converted(spec, "FLAML", _domain, join))


class BlendSearch(_Flaml):
    """FLAML's search that blends global and local search; see `_Flaml` for the parameters."""


class CFO(_Flaml):
    """FLAML's cost-frugal local search; see `_Flaml` for the parameters."""


def _domain(name: str, domain: Any) -> Any:
    spaces = library("FLAML's searchers", "flaml", "flaml.tune")
    sampler, step = domain.get_sampler(), None
    if isinstance(sampler, Quantized):
        step, sampler = sampler.q, sampler.get_sampler()
    log = "log" if isinstance(sampler, LogUniform) else ""
    if isinstance(domain, Categorical):
        return spaces.choice(list(domain.categories))
    bounded = isinstance(sampler, (Float._Uniform, Float._LogUniform, Integer._Uniform, Integer._LogUniform))
    if isinstance(domain, (Float, Integer)) and bounded:
        kind = f"{log}uniform" if isinstance(domain, Float) else f"{log}randint"
        if step is None:
            return getattr(spaces, kind)(domain.lower, domain.upper)
        return getattr(spaces, f"q{kind}")(domain.lower, domain.upper, step)
    raise ValueError(
        f"FLAML does not support parameters of type `{type(domain).__name__}` with samplers of type "
        f"`{type(sampler).__name__}` ({name})"
    )
