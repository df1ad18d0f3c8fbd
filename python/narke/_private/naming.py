"""Names and namespaces of actors."""

from __future__ import annotations

from typing import Any

__all__ = ["check_namespace"]


def check_namespace(namespace: Any) -> None:
    """Raise ValueError or TypeError for what cannot be a namespace; None is fine."""
    if namespace is None:
        return
    if not isinstance(namespace, str):
        raise TypeError(f"namespace must be None or a string, got {namespace!r} of {type(namespace)}")
    if not namespace:
        raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')
