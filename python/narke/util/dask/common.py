"""References inside of nested values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import narke

__all__ = ["dataclass_fields", "is_dataclass", "unpack_object_refs"]


def is_dataclass(obj: Any) -> bool:
    """Return whether this is an instance of a dataclass."""
    return dataclasses.is_dataclass(obj) and not isinstance(obj, type)


def dataclass_fields(class_or_instance: Any) -> tuple[Any, ...]:
    """Return the fields of a dataclass."""
    return dataclasses.fields(class_or_instance)


def unpack_object_refs(*args: Any) -> tuple[list[Any], Callable[[list[Any]], tuple[Any, ...]]]:
    """Take the references out of nested lists, tuples, sets, dictionaries and dataclasses.

    Returns:
        The references, each once, and a function that puts values in their places.
    """
    refs: list[Any] = []
    index_of: dict[Any, int] = {}

    def collect(value: Any) -> None:
        if isinstance(value, narke.ObjectRef):
            if value not in index_of:
                index_of[value] = len(refs)
                refs.append(value)
        else:
            _rebuilt(value, collect)

    for arg in args:
        collect(arg)

    def repack(values: list[Any]) -> tuple[Any, ...]:
        def replace(value: Any) -> Any:
            if isinstance(value, narke.ObjectRef):
                return values[index_of[value]]
            return _rebuilt(value, replace)

        return tuple(replace(arg) for arg in args)

    return refs, repack


def _rebuilt(value: Any, transform: Callable[[Any], Any]) -> Any:
    """A container with its items transformed; other values as they are."""
    if type(value) in (list, tuple, set, frozenset):
        return type(value)([transform(item) for item in value])
    if type(value) is dict:
        return {transform(key): transform(item) for key, item in value.items()}
    if is_dataclass(value):
        changes = {field.name: transform(getattr(value, field.name)) for field in dataclass_fields(value)}
        return _replaced(value, changes)
    return value


def _replaced(value: Any, changes: dict[str, Any]) -> Any:
    copy = object.__new__(type(value))
    copy.__dict__.update({**vars(value), **changes})
    return copy
