"""Find out which part of a value keeps it from being serialised."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

from narke.util.annotations import DeveloperAPI

__all__ = ["FailureTuple", "inspect_serializability"]

_INDENT = "    "


@DeveloperAPI
class FailureTuple:
    """A part that cannot be serialised.

    Args:
        obj: the part.
        path: how to reach it from the inspected value, ``a -> b -> c``.
        parent: the object or function that holds it, None for the inspected value itself.
    """

    def __init__(self, obj: Any, path: str, parent: Any) -> None:
        self.obj = obj
        self.path = path
        self.parent = parent

    @property
    def name(self) -> str:
        """The last step of the path."""
        return self.path.rsplit(" -> ", 1)[-1] or "unknown"

    def __repr__(self) -> str:
        return f"FailTuple({self.name} [path={self.path}, obj={self.obj!r}, parent={self.parent!r}])"


@DeveloperAPI
def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 3, print_file: TextIO | None = None
) -> tuple[bool, set[FailureTuple]]:
    """Check whether a value can be serialised, and print a tree that leads to the parts that cannot.

    Args:
        base_obj: the value.
        name: what to call it in the tree.
        depth: how many levels of attributes, closures and items to descend.
        print_file: where to print; None for standard output.

    Returns:
        Whether it can be serialised, and the innermost parts found that cannot.
    """
    inspection = _Inspection(print_file)
    title = f"Checking Serializability of {_shown(base_obj)}" + (f" as {name!r}" if name else "")
    inspection.rule(title)
    ok = inspection.visit(base_obj, [name] if name else [], None, depth)
    if not ok:
        inspection.conclude()
    return ok, set(inspection.failures.values())


@dataclass
class _Inspection:
    """One descent into a value: where it prints, what it found."""

    out: TextIO | None
    failures: dict[int, FailureTuple] = field(default_factory=dict)
    visited: set[int] = field(default_factory=set)

    def visit(self, obj: Any, path: list[str], parent: Any, depth: int) -> bool:
        """Check one object; returns whether it can be serialised."""
        error = _serialization_error(obj)
        if error is None:
            return True
        level = len(path)
        self.say(level, f"!!! FAIL serialization: {error}")
        if id(obj) in self.visited:
            self.say(level, "(shown above)")
            return False
        self.visited.add(id(obj))
        if depth > 0 and self._visit_parts(obj, path, depth):
            return False
        self.failures.setdefault(id(obj), FailureTuple(obj, " -> ".join(path), parent))
        return False

    def _visit_parts(self, obj: Any, path: list[str], depth: int) -> bool:
        """Descend into the parts; returns whether one of them explains the failure."""
        explained = False
        for heading, parts in _parts(obj):
            failing = [(name, part) for name, part in parts if _serialization_error(part) is not None]
            if failing and heading:
                self.say(len(path), heading)
            for name, part in failing:
                self.say(len(path) + 1, f"Serializing {name!r} {_shown(part)}...")
                self.visit(part, [*path, name], obj, depth - 1)
                explained = True
        return explained

    def conclude(self) -> None:
        """Print what was found and what to do about it."""
        self.rule("Not serializable:")
        for failure in self.failures.values():
            where = failure.path or "the value itself"
            held = "" if failure.parent is None else f", held by {_shown(failure.parent)}"
            self.say(1, f"{where}: {_shown(failure.obj)}{held}")
        self.say(
            0, "Create such a part inside the task or actor that uses it, leave it out with __getstate__, or"
        )
        self.say(0, "register a serialiser for its class with narke.util.register_serializer.")

    def rule(self, text: str) -> None:
        line = "=" * min(len(text), 100)
        self.say(0, f"{line}\n{text}\n{line}")

    def say(self, level: int, text: str) -> None:
        print(_INDENT * level + text, file=self.out)


def _serialization_error(obj: Any) -> Exception | None:
    from narke._private.serialization import cloud_pickle

    try:
        cloud_pickle(obj)
    except Exception as error:  # whatever a user's __reduce__ raises is the finding
        return error
    return None


def _parts(obj: Any) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """The parts of an object in groups: a heading and (name, part) pairs."""
    if inspect.ismethod(obj):
        yield "", [("__self__", obj.__self__), (obj.__name__, obj.__func__)]
    elif inspect.isfunction(obj):
        yield from _function_parts(obj)
    elif isinstance(obj, dict):
        yield "", [(f"[{key!r}]", value) for key, value in obj.items()]
    elif isinstance(obj, (list, tuple)):
        yield "", [(f"[{index}]", item) for index, item in enumerate(obj)]
    elif isinstance(obj, (set, frozenset)):
        yield "", [(f"{{{item!r}}}", item) for item in obj]
    else:
        yield "", _members(obj)


def _function_parts(function: Any) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    closure = inspect.getclosurevars(function)
    where = f"of {function.__qualname__!r}:"
    yield f"Nonlocal variables {where}", list(closure.nonlocals.items())
    yield f"Global variables {where}", list(closure.globals.items())
    defaults = [(f"default {index}", value) for index, value in enumerate(function.__defaults__ or ())]
    yield f"Default arguments {where}", defaults + list((function.__kwdefaults__ or {}).items())


def _members(obj: Any) -> list[tuple[str, Any]]:
    """What an instance or a class holds itself: its state is what gets serialised."""
    if isinstance(obj, type):
        return [
            (name, _plain(member))
            for name, member in vars(obj).items()
            if name not in ("__dict__", "__weakref__")
        ]
    slots = [slot for base in type(obj).__mro__ for slot in _as_tuple(base.__dict__.get("__slots__", ()))]
    held = [(slot, getattr(obj, slot)) for slot in slots if hasattr(obj, slot) and not slot.startswith("__")]
    return list(getattr(obj, "__dict__", {}).items()) + held


def _as_tuple(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _plain(member: Any) -> Any:
    """A static or class method as the function behind it."""
    return member.__func__ if isinstance(member, (staticmethod, classmethod)) else member


def _shown(obj: Any, limit: int = 200) -> str:
    text = repr(obj)
    return text if len(text) <= limit else f"{text[:limit]}..."
