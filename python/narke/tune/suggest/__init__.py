"""`narke.tune.search` under its name of older programs; its modules are those, too."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

from narke.tune.search import (
    BasicVariantGenerator,
    ConcurrencyLimiter,
    Repeater,
    SearchAlgorithm,
    Searcher,
    SearchGenerator,
    grid_search,
)

__all__ = [
    "BasicVariantGenerator",
    "ConcurrencyLimiter",
    "Repeater",
    "SearchAlgorithm",
    "SearchGenerator",
    "Searcher",
    "grid_search",
    "warn_structure_refactor",
]

_MODULES = (
    "ax basic_variant bayesopt bohb concurrency_limiter dragonfly flaml hebo hyperopt nevergrad optuna repeater sample "
    "search_algorithm search_generator searcher sigopt skopt util variant_generator zoopt"
).split()


def warn_structure_refactor(old_module: str, new_module: str, direct: bool = True) -> None:
    """Warn that a module has another name.

    Args:
        old_module, new_module: its names.
        direct: with the stack of who imports it, and so shown by default; else only where such warnings are asked for.
    """
    warnings.warn(
        f"the module `{old_module}` is `{new_module}`: import it by this name",
        DeprecationWarning if not direct else FutureWarning,
        stacklevel=3,
    )


class _Finder:
    """Finds narke.tune.suggest.x as narke.tune.search.x."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        """The spec of a module by its older name."""
        last = name.removeprefix(f"{__name__}.")
        if not name.startswith(f"{__name__}.") or last not in _MODULES:
            return None
        from importlib.machinery import ModuleSpec

        return ModuleSpec(name, _Loader(f"narke.tune.search.{last}"))  # type: ignore[arg-type]


class _Loader:
    """Gives the module itself."""

    def __init__(self, real: str) -> None:
        self._real = real

    def create_module(self, spec: Any) -> Any:
        """The module, imported."""
        module = importlib.import_module(self._real)
        self._kept = {name: getattr(module, name, None) for name in ("__spec__", "__loader__", "__package__")}
        return module

    def exec_module(self, module: Any) -> None:
        """Undo what the import system wrote into the module."""
        for name, value in self._kept.items():
            setattr(module, name, value)


if not any(
    isinstance(each, type) and each.__name__ == "_Finder" and each.__module__ == __name__
    for each in sys.meta_path
):
    sys.meta_path.append(_Finder)  # type: ignore[arg-type]
