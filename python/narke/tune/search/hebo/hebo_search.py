"""`HEBOSearch`: heteroscedastic evolutionary Bayesian optimisation (package HEBO)."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from narke.tune.search._space_searcher import PointSearcher, domains_of, library
from narke.tune.search.sample import Categorical, Float, Integer, LogUniform, Quantized
from narke.tune.utils.util import validate_warmstart

__all__ = ["HEBOSearch", "SPACE_ERROR_MESSAGE"]

logger = logging.getLogger(__name__)
SPACE_ERROR_MESSAGE = (
    "Space must be either a HEBO DesignSpace object or a dictionary with ONLY tune search spaces."
)


def _hebo() -> tuple[Any, Any]:
    space = library("HEBOSearch", "HEBO", "hebo.design_space.design_space")
    return space.DesignSpace, library("HEBOSearch", "HEBO", "hebo.optimizers.hebo").HEBO


class HEBOSearch(PointSearcher):
    """Suggests what HEBO asks for.

    Args:
        space: HEBO's DesignSpace or a space of Tune; the experiment's if None.
        metric, mode: what is optimized; the experiment's if None.
        points_to_evaluate: configurations to try first.
        evaluated_rewards: values of `points_to_evaluate`, which are then known and not tried.
        random_state_seed: seed.
        max_concurrent: trials under way at once; as many are asked for together.
        kwargs: of HEBO.

    Raises:
        ImportError: HEBO is not installed.
        TypeError: a space of another kind.
    """

    _title = "HEBO"

    def __init__(
        self,
        space: Any = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        evaluated_rewards: list | None = None,
        random_state_seed: int | None = None,
        max_concurrent: int = 8,
        **kwargs: Any,
    ) -> None:
        DesignSpace, _ = _hebo()
        if space is not None and not isinstance(space, (dict, DesignSpace)):
            raise TypeError(f"{SPACE_ERROR_MESSAGE} Got {type(space)}.")
        if random_state_seed is not None and not isinstance(random_state_seed, int):
            raise TypeError(f"random_state_seed must be None or int, not {type(random_state_seed).__name__}")
        if not isinstance(max_concurrent, int) or max_concurrent < 1:
            raise ValueError(f"`max_concurrent` must be an integer of at least 1, not {max_concurrent!r}")
        self._evaluated_rewards = evaluated_rewards
        self._random_state_seed = random_state_seed
        self._max_concurrent = max_concurrent
        self._kwargs = kwargs
        self._cache: list[Any] = []
        super().__init__(space, metric, mode, points_to_evaluate)

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Change how many are asked for together."""
        self._max_concurrent = max_concurrent
        return True

    def _setup(self, mode: Any) -> None:
        _, HEBO = _hebo()
        if self._random_state_seed is not None:
            import torch

            np.random.seed(self._random_state_seed)
            torch.random.manual_seed(self._random_state_seed)
        self._optimizer = HEBO(space=self._space, **self._kwargs)
        if self._evaluated_rewards:
            validate_warmstart(
                list(self._space.para_names),
                self._points_to_evaluate,  # type: ignore[arg-type]
                self._evaluated_rewards,
            )
            for point, reward in zip(self._points_to_evaluate, self._evaluated_rewards, strict=True):
                self._observe(point, reward, False)
            self._points_to_evaluate, self._evaluated_rewards = [], None

    def _ask(self, trial_id: str) -> dict[str, Any] | None:
        import pandas as pd

        if len(self._live) >= self._max_concurrent:
            return None
        if self._points_to_evaluate:
            row = pd.DataFrame([self._points_to_evaluate.pop(0)])
        else:
            if not self._cache:
                batch = self._optimizer.suggest(n_suggestions=self._max_concurrent)
                self._cache = [batch.iloc[[at]] for at in range(len(batch))]
            row = self._cache.pop(0)
        self._live[trial_id] = row
        values = row.to_dict(orient="records")[0]
        return {
            name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()
        }

    def _tell(self, trial_id: str, value: float) -> None:
        # HEBO minimizes.
        self._optimizer.observe(self._live[trial_id], np.array([[-self._metric_op * value]]))

    def _names_of_space(self) -> set[str]:
        return set(self._space.para_names)

    def _observe(self, point: dict[str, Any], value: float, error: bool) -> None:
        import pandas as pd

        if not error:
            self._optimizer.observe(pd.DataFrame([point]), np.array([[-self._metric_op * value]]))

    @staticmethod
    def convert_search_space(spec: dict[str, Any], prefix: str = "") -> Any:
        """HEBO's design space of a space of Tune.

        Args:
            spec: it.
            prefix: before the names of the parameters.

        Raises:
            ValueError: it has a grid, or a domain that HEBO has not.
        """
        DesignSpace, _ = _hebo()
        _, domains = domains_of(spec, "HEBO")
        start = f"{prefix}/" if prefix else ""
        return DesignSpace().parse([_parameter(start + name, domain) for name, domain in domains.items()])


def _parameter(name: str, domain: Any) -> dict[str, Any]:
    sampler = domain.get_sampler()
    q = None
    if isinstance(sampler, Quantized):
        q, sampler = sampler.q, sampler.get_sampler()
    log = isinstance(sampler, LogUniform)
    if isinstance(domain, Categorical):
        return {"name": name, "type": "cat", "categories": list(domain.categories)}
    if isinstance(domain, Float):
        if q:
            logger.warning("HEBO does not round floats: %s is not rounded to %s", name, q)
        found = {"name": name, "type": "pow" if log else "num", "lb": domain.lower, "ub": domain.upper}
        return {**found, "base": getattr(sampler, "base", 10)} if log else found
    if isinstance(domain, Integer):
        if q and q > 1 and not log:
            return {"name": name, "type": "step_int", "lb": domain.lower, "ub": domain.upper, "step": int(q)}
        found = {
            "name": name,
            "type": "pow_int" if log else "int",
            "lb": domain.lower,
            "ub": domain.upper - 1,
        }
        return {**found, "base": getattr(sampler, "base", 10)} if log else found
    raise ValueError(
        f"HEBO does not support parameters of type `{type(domain).__name__}` with samplers of type "
        f"`{type(sampler).__name__}` ({name})"
    )
