"""The decorator `remote`."""

from __future__ import annotations

import inspect
from typing import Any

from narke._private import options as _options

__all__ = ["remote"]


def remote(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `narke.remote` does with its arguments; see there."""
    if len(args) == 1 and not kwargs and (callable(args[0]) or _is_wrapped(args[0])):
        return _make(args[0], {})
    known = sorted({*_options.TASK_OPTIONS, *_options.ACTOR_OPTIONS})
    if args or not kwargs:
        raise AssertionError(
            "The @ray.remote decorator must be applied either with no arguments and no parentheses, for example "
            f"'@ray.remote', or it must be applied using some of the arguments in the list {known}, for example "
            "'@ray.remote(num_returns=2, resources={\"CustomResource\": 1})'."
        )
    return lambda target: _make(target, kwargs)


def _is_wrapped(target: Any) -> bool:
    return hasattr(target, "_function") or hasattr(target, "__ray_metadata__")


def _make(target: Any, options: dict[str, Any]) -> Any:
    if inspect.isclass(target):
        from narke.actor import _make_actor

        return _make_actor(target, options)
    if inspect.isfunction(target) or type(target).__name__ == "cython_function_or_method":
        from narke.remote_function import RemoteFunction

        return RemoteFunction(target, options)
    raise TypeError("The @ray.remote decorator must be applied to either a function or a class.")
