"""`ZOOptSearch`: ZOOpt's asynchronous sequential randomized coordinate shrinking (ASRacos)."""

from __future__ import annotations

import logging
from typing import Any

from narke.tune.search._space_searcher import SpaceSearcher, converted, library
from narke.tune.search.sample import Categorical, Float, Integer, LogUniform, Quantized
from narke.tune.search.searcher import Searcher

__all__ = ["ZOOptSearch"]

logger = logging.getLogger(__name__)

# ZOOpt calls itself finished when 100 samples of one region hold nothing new, and most regions vary one parameter
# only: where that is a choice of two, they often do. Each draw is of another region.
_DRAWS = 16


def _zoopt() -> Any:
    return library("ZOOptSearch", "zoopt", "zoopt")


class ZOOptSearch(SpaceSearcher):
    """Suggests what ZOOpt asks for.

    Args:
        algo: "asracos" or "sracos".
        budget: how many trials there will be; needed.
        dim_dict: {name: (ValueType.CONTINUOUS, [low, high], precision)} and the like; or `space` of Tune.
        metric, mode: what is optimized; the experiment's if None.
        points_to_evaluate: configurations to try first.
        parallel_num: trials under way at once.
        kwargs: of ZOOpt's Parameter.

    Raises:
        ImportError: ZOOpt is not installed.
        ValueError: no budget, or another algorithm.
    """

    _title = "ZOOpt"

    def __init__(
        self,
        algo: str = "asracos",
        budget: int | None = None,
        dim_dict: dict | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        parallel_num: int = 1,
        **kwargs: Any,
    ) -> None:
        _zoopt()
        if not isinstance(budget, int) or budget <= 0:
            raise ValueError(f"ZOOptSearch needs a budget, the number of trials; it is {budget!r}")
        if algo.lower() not in ("sracos", "asracos"):
            raise ValueError(f"`algo` must be in ['sracos', 'asracos'] currently, not {algo!r}")
        self._algo = algo.lower()
        self._budget = budget
        self.kwargs = kwargs
        self.parallel_num = parallel_num
        self.solution_dict: dict[str, Any] = {}
        self.best_solution_list: list[Any] = []
        super().__init__(dim_dict, metric, mode, points_to_evaluate)

    def _setup(self, mode: Any) -> None:
        zoopt = _zoopt()
        from zoopt.algos.opt_algorithms.racos.sracos import SRacosTune
        from zoopt.solution import Solution

        self._solution_type = Solution
        self._names = list(self._space)
        dimension = zoopt.Dimension2([self._space[name] for name in self._names])
        parameter = zoopt.Parameter(budget=self._budget, **self.kwargs)
        if self._points_to_evaluate:
            first = [Solution(x=[point[name] for name in self._names]) for point in self._points_to_evaluate]
            parameter.set_init_samples(first)
            self._points_to_evaluate = []
        self._optimizer = SRacosTune(dimension=dimension, parameter=parameter, parallel_num=self.parallel_num)

    def _ask(self, trial_id: str) -> dict[str, Any] | str | None:
        for _ in range(_DRAWS):
            solution = self._drawn()
            if isinstance(solution, self._solution_type):
                break
        else:
            return Searcher.FINISHED if solution == "FINISHED" or not self._live else None
        self._live[trial_id] = self.solution_dict[trial_id] = solution
        values = [value.item() if hasattr(value, "item") else value for value in solution.get_x()]
        return dict(zip(self._names, values, strict=True))

    def _drawn(self) -> Any:
        """ZOOpt's next solution; None while it waits for results, "FINISHED" when it drew none that is new."""
        # It counts trials that failed, and solutions that it looked for in vain, as under way for ever.
        self._optimizer.live_num = len(self._live)
        if not self._live:
            # It waits for the last of its first points, and misses that it came before it was asked again.
            self._optimizer.semaphore = 1
        return self._optimizer.suggest()

    def _tell(self, trial_id: str, value: float) -> None:
        # ZOOpt minimizes.
        best = self._optimizer.complete(self.solution_dict.pop(trial_id), -self._metric_op * value)
        if best:
            self.best_solution_list.append(best)

    @staticmethod
    def convert_search_space(spec: dict[str, Any], join: bool = False) -> dict[str, Any]:
        """ZOOpt's dimensions of a space of Tune by name.

        Args:
            spec: it.
            join: with the constants.

        Raises:
            ValueError: it has a grid, or a domain that ZOOpt has not.
        """
        return converted(spec, "ZOOpt", _dimension, join)


def _dimension(name: str, domain: Any) -> tuple:
    kind = _zoopt().ValueType
    sampler, precision = domain.get_sampler(), 1e-12
    if isinstance(sampler, Quantized):
        precision, sampler = sampler.q, sampler.get_sampler()
    if isinstance(domain, Categorical):
        return kind.GRID, list(domain.categories)
    if isinstance(sampler, LogUniform):
        logger.warning("ZOOpt does not support logarithmic parameters: %s is uniform", name)
    uniform = isinstance(sampler, (Float._Uniform, Float._LogUniform, Integer._Uniform, Integer._LogUniform))
    if isinstance(domain, Float) and uniform:
        return kind.CONTINUOUS, [domain.lower, domain.upper], precision
    if isinstance(domain, Integer) and uniform:
        return kind.DISCRETE, [domain.lower, domain.upper - 1], True
    raise ValueError(
        f"ZOOpt does not support parameters of type `{type(domain).__name__}` with samplers of type "
        f"`{type(sampler).__name__}` ({name})"
    )
