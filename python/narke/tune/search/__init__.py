"""Search: spaces, the plain generator of variants, and searchers that learn."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from narke._private.lazy_names import lazy_names

# Imported when they are used: workers of trials need none of them, and they load numpy.
_HOMES = {
    "BasicVariantGenerator": "basic_variant",
    "ConcurrencyLimiter": "concurrency_limiter",
    "Repeater": "repeater",
    "SearchAlgorithm": "search_algorithm",
    "SearchGenerator": "search_generator",
    "Searcher": "searcher",
    "grid_search": "variant_generator",
}
__all__ = [
    "SEARCH_ALG_IMPORT",
    "UNDEFINED_METRIC_MODE",
    "UNDEFINED_SEARCH_SPACE",
    "UNRESOLVED_SEARCH_SPACE",
    "BasicVariantGenerator",
    "ConcurrencyLimiter",
    "Repeater",
    "SearchAlgorithm",
    "SearchGenerator",
    "Searcher",
    "create_searcher",
    "grid_search",
]

UNRESOLVED_SEARCH_SPACE = (
    "The space that was passed to {cls} holds search spaces of Tune ({par}), which {cls} does not know. "
    "Pass them as {space} of the experiment, or convert them: {cls}.convert_search_space(...)"
)
UNDEFINED_SEARCH_SPACE = (
    "{cls} has no search space yet. Pass {space} to it, or give the experiment search spaces."
)
UNDEFINED_METRIC_MODE = (
    "{cls} needs `metric` and `mode` (here: {metric!r}, {mode!r}). Pass them to it or to TuneConfig."
)


def _importer(module: str, name: str) -> Callable[[], type]:
    def load() -> type:
        return getattr(importlib.import_module(f"narke.tune.search.{module}"), name)

    return load


SEARCH_ALG_IMPORT: dict[str, Callable[[], type]] = {
    "variant_generator": _importer("basic_variant", "BasicVariantGenerator"),
    "random": _importer("basic_variant", "BasicVariantGenerator"),
    "ax": _importer("ax", "AxSearch"),
    "hyperopt": _importer("hyperopt", "HyperOptSearch"),
    "bayesopt": _importer("bayesopt", "BayesOptSearch"),
    "bohb": _importer("bohb", "TuneBOHB"),
    "nevergrad": _importer("nevergrad", "NevergradSearch"),
    "optuna": _importer("optuna", "OptunaSearch"),
    "zoopt": _importer("zoopt", "ZOOptSearch"),
    "hebo": _importer("hebo", "HEBOSearch"),
    "skopt": _importer("skopt", "SkOptSearch"),
    "dragonfly": _importer("dragonfly", "DragonflySearch"),
    "sigopt": _importer("sigopt", "SigOptSearch"),
    "blendsearch": _importer("flaml", "BlendSearch"),
    "cfo": _importer("flaml", "CFO"),
}


def create_searcher(search_alg: str, **kwargs: Any) -> Any:
    """Make a searcher by name.

    Args:
        search_alg: one of `SEARCH_ALG_IMPORT`, in any case.
        kwargs: for its constructor; those it does not take are left out.

    Raises:
        ValueError: no such name.
        ImportError: the searcher's package is not installed.
    """
    name = search_alg.lower()
    if name not in SEARCH_ALG_IMPORT:
        raise ValueError(
            f"there is no searcher {search_alg!r}; there are {', '.join(sorted(SEARCH_ALG_IMPORT))}"
        )
    cls = SEARCH_ALG_IMPORT[name]()
    parameters = inspect.signature(cls).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        kwargs = {key: value for key, value in kwargs.items() if key in parameters}
    return cls(**kwargs)


__getattr__ = lazy_names(__name__, _HOMES)
