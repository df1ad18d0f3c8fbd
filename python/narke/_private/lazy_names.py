"""Packages whose names are imported when they are first used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["homes_of", "lazy_names"]


def homes_of(names: Mapping[str, str]) -> dict[str, str]:
    """The module of each name.

    Args:
        names: by module, the names that it has, separated by spaces.
    """
    return {name: home for home, listed in names.items() for name in listed.split()}


def lazy_names(package: str, homes: Mapping[str, str], modules: bool = False) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package.

    Args:
        package: its full name.
        homes: the module of each name: relative to the package, or in full ("narke. ...").
        modules: whether the package's modules are attributes without being imported before, too.

    Returns:
        a function that imports a name's module and keeps the value in the package. It raises AttributeError for a name
        that is not there.
    """

    def find(name: str) -> Any:
        if name in homes:
            home = homes[name]
            value = getattr(
                importlib.import_module(home if home.startswith("narke.") else f"{package}.{home}"), name
            )
            setattr(sys.modules[package], name, value)
            return value
        if modules and not name.startswith("_"):
            try:
                return importlib.import_module(f"{package}.{name}")
            except ModuleNotFoundError as error:
                if error.name != f"{package}.{name}":
                    raise
        raise AttributeError(f"{package} has no {name!r}; what it has is in {package}.__all__")

    return find
