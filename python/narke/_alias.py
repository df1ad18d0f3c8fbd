"""Serves Ray programs: ``import ray`` gives this package, whatever submodule is asked for.

`install` puts a finder in front of the import system that maps ``ray.x.y`` to the very module object of ``narke.x.y``
and lets `importlib.metadata` find a distribution ``ray``. Pickles name modules of ``narke`` and load under either name.
"""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from narke._private.versions import API_VERSION

if TYPE_CHECKING:  # slow to import, and seldom needed
    import importlib.metadata

__all__ = ["install", "is_installed"]

_ALIAS, _REAL = "ray", "narke"


def is_installed() -> bool:
    """Whether ``import ray`` gives this package in this process."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


def install() -> None:
    """Make ``import ray`` give this package, here and in workers of clusters started from here. Idempotent.

    Raises:
        ImportError: another package named ``ray`` is imported already.
    """
    if is_installed():
        return
    present = sys.modules.get(_ALIAS)
    narke = importlib.import_module(_REAL)
    if present is not None and present is not narke:
        raise ImportError(
            f"cannot serve `import ray`: {present!r} is imported already; start with `narke run`"
        )
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    os.environ["NARKE_AS_RAY"] = "1"
    narke.__version__ = API_VERSION  # type: ignore[attr-defined]
    sys.modules[_ALIAS] = narke
    _name_modules_below(_REAL)


def _name_modules_below(real: str) -> None:
    """Give what was imported of a package its name under the alias.

    Else the import system would import it once more under that name, and put the module into its package where the
    package has something else of that name: ``serve.deployment`` is a function, too.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{real}."):
            sys.modules.setdefault(_ALIAS + name[len(_REAL) :], module)


class _Finder:
    """Finds modules under the alias, and the alias's distribution."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _ALIAS and not fullname.startswith(f"{_ALIAS}."):
            return None
        real = _REAL + fullname[len(_ALIAS) :]
        found = _spec_of(real)
        if found is None:
            from narke._compat import stand_in

            real = stand_in(fullname[len(_ALIAS) + 1 :]) or real
            found = _spec_of(real)
        if found is None:
            return None
        return importlib.machinery.ModuleSpec(
            fullname,
            _Loader(fullname, real),  # type: ignore[arg-type]  # importlib.abc is as slow to import as a small program
            origin=found.origin,
            is_package=found.submodule_search_locations is not None,
        )

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context | None = None
    ) -> Iterable[importlib.metadata.Distribution]:
        """The distribution ``ray`` when it is asked for."""
        name = getattr(context, "name", None)
        if name is None or name.lower().replace("_", "-") == _ALIAS:
            yield _distribution_class()()


def _spec_of(name: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None


class _Loader:
    """Gives the real module under another name without running or changing it."""

    def __init__(self, name: str, real: str) -> None:
        self._name = name
        self._real = real
        self._spec: Any = None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._real)
        # The import system writes the alias's spec into the module it is given; exec_module takes that back.
        self._kept = {name: getattr(module, name, None) for name in ("__spec__", "__loader__", "__package__")}
        return module

    def exec_module(self, module: ModuleType) -> None:
        for name, value in self._kept.items():
            setattr(module, name, value)
        # A module may have replaced itself in sys.modules while it was imported.
        actual = sys.modules.get(self._real, module)
        sys.modules[self._name] = actual
        if self._name[len(_ALIAS) :] == self._real[len(_REAL) :] and hasattr(module, "__path__"):
            _name_modules_below(self._real)

    def get_code(self, fullname: str) -> Any:
        """The real module's code, for runpy."""
        spec = importlib.util.find_spec(self._real)
        return spec.loader.get_code(self._real) if spec is not None and spec.loader is not None else None  # type: ignore[attr-defined]


@functools.cache
def _distribution_class() -> type[importlib.metadata.Distribution]:
    import importlib.metadata

    class _Distribution(importlib.metadata.Distribution):
        """What package tools see of ``ray``."""

        def read_text(self, filename: str) -> str | None:
            if filename in ("METADATA", "PKG-INFO"):
                return f"Metadata-Version: 2.1\nName: {_ALIAS}\nVersion: {API_VERSION}\n"
            if filename == "top_level.txt":
                return f"{_ALIAS}\n"
            return None

        def locate_file(self, path: Any) -> Any:
            return os.path.join(os.path.dirname(os.path.abspath(__file__)), path)

    return _Distribution
