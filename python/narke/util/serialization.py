"""Register how instances of a class are serialised, for classes that cannot be pickled as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.util.annotations import DeveloperAPI, PublicAPI

__all__ = ["StandaloneSerializationContext", "deregister_serializer", "register_serializer"]


@PublicAPI
def register_serializer(
    cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]
) -> None:
    """Use a pair of functions for instances of exactly `cls` in this process.

    Args:
        cls: the class.
        serializer: turns an instance into something that can be pickled.
        deserializer: turns that back into an instance; travels with the data, so readers need no
            registration.

    Raises:
        TypeError: `cls` is no class, or a function is not callable.
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_serializer takes a class, got {cls!r}")
    for name, function in (("serializer", serializer), ("deserializer", deserializer)):
        if not callable(function):
            raise TypeError(
                f"register_serializer: {name} for {cls.__qualname__} must be callable, got {function!r}"
            )

    _private().register_serializer(cls, serializer=serializer, deserializer=deserializer)


@PublicAPI
def deregister_serializer(cls: type) -> None:
    """Undo `register_serializer` for `cls`; nothing happens when it was not registered."""
    _private().deregister_serializer(cls)


def _private() -> Any:
    from narke._private import serialization

    return serialization


@DeveloperAPI
class StandaloneSerializationContext:
    """Serialises values without a running cluster; registered serialisers apply."""

    def serialize(self, value: Any) -> bytes:
        """Return `value` as bytes."""
        return _private().cloud_pickle(value)

    def deserialize(self, data: bytes) -> Any:
        """Return the value that `serialize` turned into `data`; only for data you trust."""
        import cloudpickle

        return cloudpickle.loads(data)
