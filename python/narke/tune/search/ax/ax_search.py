"""`AxSearch`: Ax, the adaptive experimentation platform (package ax-platform)."""

from __future__ import annotations

import copy
import logging
from typing import Any

from narke.tune.search._space_searcher import PointSearcher, domains_of, library
from narke.tune.search.sample import Categorical, Float, Integer, LogUniform, Quantized

__all__ = ["AxSearch"]

logger = logging.getLogger(__name__)


def _ax() -> tuple[Any, Any]:
    client = library("AxSearch", "ax-platform", "ax.service.ax_client")
    return client.AxClient, library(
        "AxSearch", "ax-platform", "ax.service.utils.instantiation"
    ).ObjectiveProperties


class AxSearch(PointSearcher):
    """Suggests what an Ax client asks for.

    Args:
        space: list of Ax's parameters or a space of Tune; the experiment's if None.
        metric, mode: what is optimized; the experiment's if None.
        points_to_evaluate: configurations to try first.
        parameter_constraints: such as "x3 >= x4".
        outcome_constraints: such as "metric_name <= 3".
        ax_client: with an experiment made already.
        ax_kwargs: of the client.

    Raises:
        ImportError: Ax is not installed.
    """

    _title = "Ax"

    def __init__(
        self,
        space: dict[str, Any] | list[dict[str, Any]] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        parameter_constraints: list | None = None,
        outcome_constraints: list | None = None,
        ax_client: Any = None,
        **ax_kwargs: Any,
    ) -> None:
        _ax()
        self._ax = ax_client
        self._ax_kwargs = ax_kwargs
        self._parameter_constraints = parameter_constraints
        self._outcome_constraints = outcome_constraints
        super().__init__(space, metric, mode, points_to_evaluate)
        if ax_client is not None and not self._space:
            self._setup(mode)
            self._space = self._space or ["of the client"]

    def _setup(self, mode: Any) -> None:
        AxClient, ObjectiveProperties = _ax()
        if self._ax is None:
            self._ax = AxClient(**{"verbose_logging": False, **self._ax_kwargs})
        try:
            made = self._ax.experiment is not None
        except (ValueError, AssertionError):  # a client without an experiment says so
            made = False
        if not made:
            self._ax.create_experiment(
                parameters=copy.deepcopy(self._space),
                objectives={self._metric: ObjectiveProperties(minimize=mode != "max")},
                parameter_constraints=self._parameter_constraints,
                outcome_constraints=self._outcome_constraints,
            )
        else:
            objective = self._ax.experiment.optimization_config.objective
            self._metric = self._metric or objective.metric_names[0]
            self._mode = self._mode or ("min" if getattr(objective, "minimize", True) else "max")
        self._optimizer = self._ax

    def _ask(self, trial_id: str) -> dict[str, Any] | None:
        if self._points_to_evaluate:
            point = self._points_to_evaluate.pop(0)
            values, index = self._ax.attach_trial(point)
        else:
            values, index = self._ax.get_next_trial()
        self._live[trial_id] = index
        return dict(values)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Ax the metric, and those of the outcome constraints."""
        if (
            trial_id in self._live
            and result
            and not error
            and result.get(self._metric) == result.get(self._metric)
        ):
            if result.get(self._metric) is not None:
                names = [self._metric, *(text.split()[0] for text in self._outcome_constraints or [])]
                data = {name: (result[name], None) for name in names if name in result}
                self._ax.complete_trial(trial_index=self._live.pop(trial_id), raw_data=data)
                return
        super().on_trial_complete(trial_id, None, error=True)

    def _tell_failure(self, trial_id: str) -> None:
        self._ax.log_trial_failure(trial_index=self._live.pop(trial_id))

    def _names_of_space(self) -> set[str]:
        return {each["name"] for each in self._space if isinstance(each, dict)}

    def _observe(self, point: dict[str, Any], value: float, error: bool) -> None:
        _, index = self._ax.attach_trial(point)
        if error:
            self._ax.log_trial_failure(trial_index=index)
        else:
            self._ax.complete_trial(trial_index=index, raw_data={self._metric: (value, None)})

    @staticmethod
    def convert_search_space(spec: dict[str, Any]) -> list[dict[str, Any]]:
        """Ax's parameters of a space of Tune.

        Raises:
            ValueError: it has a grid, or a domain that Ax has not.
        """
        _, domains = domains_of(spec, "Ax")
        return [_parameter(name, domain) for name, domain in domains.items()]


def _parameter(name: str, domain: Any) -> dict[str, Any]:
    sampler = domain.get_sampler()
    if isinstance(sampler, Quantized):
        logger.warning("AxSearch does not support quantization: %s is not rounded", name)
        sampler = sampler.get_sampler()
    if isinstance(domain, Categorical):
        kind = {bool: "bool", int: "int", float: "float", str: "str"}.get(type(domain.categories[0]), "str")
        return {
            "name": name,
            "type": "choice",
            "values": list(domain.categories),
            "value_type": kind,
            "is_ordered": False,
            "sort_values": False,
        }
    uniform = isinstance(sampler, (Float._Uniform, Float._LogUniform, Integer._Uniform, Integer._LogUniform))
    if not isinstance(domain, (Float, Integer)) or not uniform:
        raise ValueError(
            f"AxSearch does not support parameters of type `{type(domain).__name__}` with samplers of type "
            f"`{type(sampler).__name__}` ({name})"
        )
    whole = isinstance(domain, Integer)
    return {
        "name": name,
        "type": "range",
        # Ax takes both bounds in.
        "bounds": [domain.lower, domain.upper - 1] if whole else [domain.lower, domain.upper],
        "value_type": "int" if whole else "float",
        "log_scale": isinstance(sampler, LogUniform),
    }
