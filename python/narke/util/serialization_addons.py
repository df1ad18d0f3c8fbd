"""Serialisers for objects of other libraries that cannot be pickled as they are."""

from __future__ import annotations

from typing import Any

from narke.util.annotations import DeveloperAPI
from narke.util.serialization import register_serializer

__all__ = ["apply", "register_starlette_serializer"]


@DeveloperAPI
def register_starlette_serializer(serialization_context: Any = None) -> None:
    """Let ``starlette.datastructures.State`` travel; its attribute hook defeats plain pickling.

    Args:
        serialization_context: accepted for programs that pass one; registration is per process.
    """
    try:
        from starlette.datastructures import State
    except ImportError:
        return
    register_serializer(State, serializer=lambda state: state._state, deserializer=State)


@DeveloperAPI
def apply(serialization_context: Any = None) -> None:
    """Register every serialiser of this module whose library is installed."""
    register_starlette_serializer(serialization_context)
