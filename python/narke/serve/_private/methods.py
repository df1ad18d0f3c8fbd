"""Functions in place of methods."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["function_of"]

_like = functools.partial(
    functools.wraps, assigned=("__name__", "__qualname__", "__doc__", "__annotations__")
)


def function_of(method: Callable[..., Any]) -> Callable[..., Any]:
    """A function that does what a bound method does, with any arguments.

    Taskiq gives what it registers another name, which methods do not take, and looks for its module, which a class
    sent by value need not have; Celery counts `self` among the arguments of a task that is tried again.
    """
    if inspect.iscoroutinefunction(method):

        @_like(method)
        async def run_async(*args: Any, **kwargs: Any) -> Any:
            return await method(*args, **kwargs)

        return run_async

    @_like(method)
    def run(*args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    return run
