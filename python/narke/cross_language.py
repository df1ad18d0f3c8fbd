"""Functions and classes of programs in other languages.

There is no Java worker here; asking for one says so. C++ programs define tasks and actors with the C++ API
and call Python by name; the other direction is not available either.
"""

from __future__ import annotations

from enum import Enum
from typing import NoReturn

from narke.util.annotations import PublicAPI

__all__ = ["Language", "cpp_actor_class", "cpp_function", "java_actor_class", "java_function"]

_NO_JAVA = (
    "there are no Java workers: port {what} to Python or C++, or run it as a service "
    "and call that from a task"
)
_NO_CPP = (
    "Python programs do not call C++ {kind}s by name yet: bind {what} to Python (nanobind, "
    "pybind11, ctypes) and make that remote, or start the work from a C++ driver (include/narke/narke.h)"
)


class Language(Enum):
    """Languages of tasks and actors."""

    PYTHON = 0
    JAVA = 1
    CPP = 2

    def __str__(self) -> str:
        return self.name


def _name(value: object, parameter: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{parameter} must be a str, got {type(value).__name__}")
    return value


@PublicAPI(stability="beta")
def java_function(class_name: str, function_name: str) -> NoReturn:
    """Raise NotImplementedError: there are no Java workers.

    Args:
        class_name: the Java class.
        function_name: its static method.
    """
    what = f"{_name(class_name, 'class_name')}.{_name(function_name, 'function_name')}"
    raise NotImplementedError("java_function: " + _NO_JAVA.format(what=what))


@PublicAPI(stability="beta")
def java_actor_class(class_name: str) -> NoReturn:
    """Raise NotImplementedError: there are no Java workers.

    Args:
        class_name: the Java class.
    """
    raise NotImplementedError("java_actor_class: " + _NO_JAVA.format(what=_name(class_name, "class_name")))


@PublicAPI(stability="beta")
def cpp_function(function_name: str) -> NoReturn:
    """Raise NotImplementedError: Python programs do not call C++ functions by name.

    Args:
        function_name: the C++ function.
    """
    what = _name(function_name, "function_name")
    raise NotImplementedError("cpp_function: " + _NO_CPP.format(kind="function", what=what))


@PublicAPI(stability="beta")
def cpp_actor_class(create_function_name: str, class_name: str) -> NoReturn:
    """Raise NotImplementedError: Python programs do not create C++ actors by name.

    Args:
        create_function_name: the C++ function that makes the actor.
        class_name: its class.
    """
    _name(create_function_name, "create_function_name")
    what = _name(class_name, "class_name")
    raise NotImplementedError("cpp_actor_class: " + _NO_CPP.format(kind="class", what=what))
