"""Backends by name, so that programs can add their own."""

from __future__ import annotations

from typing import Any

__all__ = ["BackendRegistry", "register_collective_backend", "registry"]


class BackendRegistry:
    """Group classes by backend name."""

    def __init__(self) -> None:
        self._classes: dict[str, type] = {}

    def put(self, name: str, group_cls: type) -> None:
        """Add a backend.

        Raises:
            TypeError: the class does not extend `BaseGroup`.
            ValueError: the name is taken.
        """
        from narke.util.collective.collective_group.base_collective_group import BaseGroup

        if not (isinstance(group_cls, type) and issubclass(group_cls, BaseGroup)):
            raise TypeError(f"the backend {name!r} must be a class that extends BaseGroup, got {group_cls!r}")
        if name.upper() in self._classes:
            raise ValueError(f"Backend {name.upper()!r} is already registered")
        self._classes[name.upper()] = group_cls

    def get(self, name: str) -> Any:
        """Return a backend's class.

        Raises:
            ValueError: no backend is called so.
        """
        if name.upper() not in self._classes:
            raise ValueError(f"Backend {name.upper()!r} is not registered; known are {sorted(self._classes)}")
        return self._classes[name.upper()]

    def is_registered(self, name: str) -> bool:
        """Return whether a backend is called so."""
        return name.upper() in self._classes

    def check(self, name: str) -> bool:
        """Return whether a backend is registered and can be used here."""
        return self.is_registered(name) and self.get(name).check_backend_availability()


registry = BackendRegistry()


def register_collective_backend(name: str, group_cls: type) -> None:
    """Add a backend for this process; parameters and errors as for `BackendRegistry.put`."""
    registry.put(name, group_cls)
