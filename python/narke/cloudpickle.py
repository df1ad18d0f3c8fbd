"""cloudpickle with the engine's registered serializers: ``import narke.cloudpickle as pickle``."""

from __future__ import annotations

from collections.abc import Callable
from pickle import PicklingError, UnpicklingError, load, loads
from typing import IO, Any

from cloudpickle import (
    DEFAULT_PROTOCOL,
    CloudPickler,
    Pickler,
    register_pickle_by_value,
    unregister_pickle_by_value,
)

from narke._private.serialization import cloud_pickle

__all__ = [
    "DEFAULT_PROTOCOL",
    "CloudPickler",
    "Pickler",
    "PicklingError",
    "UnpicklingError",
    "dump",
    "dumps",
    "load",
    "loads",
    "register_pickle_by_value",
    "unregister_pickle_by_value",
]


def dumps(
    obj: Any, protocol: int | None = None, buffer_callback: Callable[[Any], Any] | None = None
) -> bytes:
    """Pickle a value; functions and classes of ``__main__`` by value.

    Args:
        obj: the value.
        protocol: accepted; always 5.
        buffer_callback: takes big buffers out of band.
    """
    return cloud_pickle(obj, buffer_callback)


def dump(
    obj: Any,
    file: IO[bytes],
    protocol: int | None = None,
    buffer_callback: Callable[[Any], Any] | None = None,
) -> None:
    """Pickle a value into a file; as `dumps` otherwise."""
    file.write(cloud_pickle(obj, buffer_callback))
