"""Finds which part of a value keeps it from being pickled."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["find_culprit"]

_MAX_DEPTH = 4
_MAX_PARTS = 200


def find_culprit(value: Any, dump: Callable[[Any], Any]) -> str | None:
    """Describe the innermost part that does not pickle.

    Args:
        value: what was to be pickled.
        dump: pickles a value or raises.

    Returns:
        such as ``attribute 'lock' (<unlocked _thread.lock ...> of type _thread.lock)``; None when it is the value.
    """
    path: list[str] = []
    part = value
    for _ in range(_MAX_DEPTH):
        found = next(((name, inner) for name, inner in _parts(part) if not _pickles(inner, dump)), None)
        if found is None:
            break
        name, part = found
        path.append(name)
    if not path:
        return None
    cls = type(part)
    return f"{' of '.join(reversed(path))} ({_text(part)} of type {cls.__module__}.{cls.__qualname__})"


def _pickles(value: Any, dump: Callable[[Any], Any]) -> bool:
    try:
        dump(value)
    except Exception:
        return False
    return True


def _text(value: Any) -> str:
    try:
        return repr(value)[:100]
    except Exception:
        return object.__repr__(value)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    for index, part in enumerate(_all_parts(value)):
        if index >= _MAX_PARTS:
            return
        yield part


def _all_parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f"item {key!r}", item) for key, item in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"element {index}", item) for index, item in enumerate(value))
    elif inspect.isfunction(value):
        yield from _function_parts(value)
    elif inspect.ismethod(value):
        yield "the object it is bound to", value.__self__
    elif inspect.isclass(value):
        yield from (
            (f"class attribute {name!r}", item) for name, item in vars(value).items() if callable(item)
        )
    else:
        yield from ((f"attribute {name!r}", item) for name, item in getattr(value, "__dict__", {}).items())


def _function_parts(function: Any) -> Iterator[tuple[str, Any]]:
    closure = inspect.getclosurevars(function)
    yield from ((f"captured variable {name!r}", item) for name, item in closure.nonlocals.items())
    yield from ((f"global variable {name!r}", item) for name, item in closure.globals.items())
    yield from ((f"default argument {index}", item) for index, item in enumerate(function.__defaults__ or ()))
