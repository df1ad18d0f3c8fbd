"""`BayesOptSearch`: a Gaussian process over floats, by the package bayesian-optimization (import name bayes_opt)."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from narke.tune.search._space_searcher import ModelSearcher, domains_of, library
from narke.tune.search.sample import Float, LogUniform, Quantized
from narke.tune.search.searcher import Searcher
from narke.tune.search.util import flattened, unflattened

if TYPE_CHECKING:
    from narke.tune.analysis.experiment_analysis import ExperimentAnalysis

__all__ = ["BayesOptSearch"]

logger = logging.getLogger(__name__)


def _bayes_opt() -> Any:
    return library("BayesOptSearch", "bayesian-optimization", "bayes_opt")


class BayesOptSearch(ModelSearcher):
    """Suggests what a Gaussian process asks for. Parameters are floats.

    Args:
        space: {name: (low, high)} or a space of Tune; the experiment's if None.
        metric, mode: what is optimized; the experiment's if None.
        points_to_evaluate: configurations to try first.
        utility_kwargs: kind ("ucb", "ei", "poi"), kappa, xi of the acquisition function.
        random_state: seed.
        random_search_steps: random points before the process is asked.
        verbose: of the package.
        patience: suggestions in a row that were made before; then the search ends.
        skip_duplicate: do not try a configuration twice.
        analysis: an experiment to learn from.
        repeat_float_precision: digits by which configurations are told apart.

    Raises:
        ImportError: the package is not installed.
    """

    _title = "BayesOpt"

    def __init__(
        self,
        space: dict[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        utility_kwargs: dict[str, Any] | None = None,
        random_state: int = 42,
        random_search_steps: int = 10,
        verbose: int = 0,
        patience: int = 5,
        skip_duplicate: bool = True,
        analysis: ExperimentAnalysis | None = None,
        repeat_float_precision: int = 5,
    ) -> None:
        package = _bayes_opt()
        if patience <= 0:
            raise ValueError(f"patience must be above 0, not {patience}")
        self._config_counter: dict[str, int] = {}
        self._patience = patience
        self._skip_duplicate = skip_duplicate
        self.repeat_float_precision = repeat_float_precision
        self._verbose = verbose
        self._random_state = random_state
        self.random_search_trials = random_search_steps
        self._analysis = analysis
        self._suggested = 0
        known = {"kind": "ucb", "kappa": 2.576, "xi": 0.0, **(utility_kwargs or {})}
        self.utility = _acquisition(package, known, random_state)
        super().__init__(space, metric, mode, points_to_evaluate)

    def _setup(self, mode: Any) -> None:
        package = _bayes_opt()
        more = {} if hasattr(package, "UtilityFunction") else {"acquisition_function": self.utility}
        self._optimizer = package.BayesianOptimization(
            f=None, pbounds=self._space, verbose=self._verbose, random_state=self._random_state, **more
        )
        if hasattr(self._optimizer, "set_gp_params"):
            self._optimizer.set_gp_params(alpha=1e-6)
        if self._analysis is not None:
            self.register_analysis(self._analysis)

    def _ask(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._points_to_evaluate:
            values = self._points_to_evaluate.pop(0)
        elif self._suggested < self.random_search_trials:
            values = self._random()
        else:
            values = self._asked()
        if self._skip_duplicate:
            for _ in range(self._patience):
                if not self._seen(values):
                    break
                values = self._asked()
            else:
                logger.info("%d suggestions in a row were made before: the search ends", self._patience)
                return Searcher.FINISHED
        self._suggested += 1
        self._live[trial_id] = values
        return dict(values)

    def _asked(self) -> dict[str, Any]:
        old = hasattr(_bayes_opt(), "UtilityFunction")
        found = self._optimizer.suggest(self.utility) if old else self._optimizer.suggest()
        return {name: float(value) for name, value in found.items()}

    def _random(self) -> dict[str, Any]:
        space = self._optimizer.space if hasattr(self._optimizer, "space") else self._optimizer._space
        drawn = space.random_sample()
        array = drawn[0] if getattr(drawn, "ndim", 1) == 2 else drawn
        return {name: float(value) for name, value in space.array_to_params(array).items()}

    def _seen(self, values: dict[str, Any]) -> bool:
        digits = self.repeat_float_precision
        key = json.dumps({name: round(value, digits) for name, value in values.items()}, sort_keys=True)
        self._config_counter[key] = self._config_counter.get(key, 0) + 1
        return self._config_counter[key] > 1

    def _tell(self, trial_id: str, value: float) -> None:
        self._optimizer.register(params=self._live[trial_id], target=self._metric_op * value)

    def register_analysis(self, analysis: ExperimentAnalysis) -> None:
        """Learn from the last results of an experiment."""
        for trial in analysis.trials:
            value = flattened(trial.last_result).get(self._metric) if trial.last_result else None
            if value is not None:
                self.add_evaluated_point(trial.config, value)

    def _observe(self, point: dict[str, Any], value: float, error: bool) -> None:
        if not error:
            self._optimizer.register(params=point, target=self._metric_op * value)

    @staticmethod
    def convert_search_space(spec: dict[str, Any], join: bool = False) -> dict[str, Any]:
        """The bounds of a space of Tune by name.

        Args:
            spec: it.
            join: with the constants.

        Raises:
            ValueError: it has a grid, or parameters that are no floats.
        """
        constants, domains = domains_of(spec, "BayesOpt")
        bounds = {}
        for name, domain in domains.items():
            sampler = domain.get_sampler()
            if isinstance(sampler, Quantized):
                logger.warning("BayesOpt search does not support quantization: %s is not rounded", name)
                sampler = sampler.get_sampler()
            if not isinstance(domain, Float) or not isinstance(sampler, (Float._Uniform, Float._LogUniform)):
                raise ValueError(
                    f"BayesOpt does not support parameters of type {type(domain).__name__} with samplers of type "
                    f"{type(sampler).__name__} ({name})"
                )
            if isinstance(sampler, LogUniform):
                logger.warning("BayesOpt does not support logarithmic parameters: %s is uniform", name)
            bounds[name] = (domain.lower, domain.upper)
        return {**unflattened(constants), **bounds} if join else bounds


def _acquisition(package: Any, known: dict[str, Any], seed: int) -> Any:
    """The acquisition function, by the package's present or former names."""
    if hasattr(package, "UtilityFunction"):
        return package.UtilityFunction(**known)
    module = package.acquisition
    kind = known["kind"]
    if kind == "ucb":
        return module.UpperConfidenceBound(kappa=known["kappa"], random_state=seed)
    names = {"ei": "ExpectedImprovement", "poi": "ProbabilityOfImprovement"}
    if kind not in names:
        raise ValueError(f"utility_kwargs['kind'] is {kind!r}; it must be ucb, ei or poi")
    return getattr(module, names[kind])(xi=known["xi"], random_state=seed)
