"""Packages whose names are imported when somebody asks for them: importing all at once takes longer than many tasks."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, names: Mapping[str, str]) -> tuple[list[str], Callable[[str], Any]]:
    """A package's `__all__` and `__getattr__`.

    Args:
        package: its name. names: by module in it, the names that it has, separated by spaces.
    """
    homes = {name: home for home, listed in names.items() for name in listed.split()}

    def find(name: str) -> Any:
        if name in homes:
            value = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
            setattr(sys.modules[package], name, value)
            return value
        if not name.startswith("_"):
            try:
                return importlib.import_module(f"{package}.{name}")
            except ModuleNotFoundError as error:
                if error.name != f"{package}.{name}":
                    raise
        raise AttributeError(f"{package} has no {name!r}; what it has is in {package}.__all__")

    return sorted(homes), find
