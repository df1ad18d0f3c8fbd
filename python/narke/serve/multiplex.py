"""Model multiplexing; see `narke.serve.multiplexed`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from narke.serve._private.multiplexing import ModelCache

__all__ = ["multiplexed"]


def multiplexed(func: Callable[..., Any] | None = None, max_num_models_per_replica: int = 3) -> Any:
    """Mark a coroutine method that loads a model by its id: each replica keeps the last used models.

    Args:
        func: ``async def load(self, model_id: str)``, or a function without ``self``.
        max_num_models_per_replica: models kept; -1: no limit.

    Returns:
        the loader; requests for a model go to replicas that hold it.

    Raises:
        TypeError: `func` is no coroutine function of one argument, or the number is no int.
        ValueError: the number is neither positive nor -1.
    """
    if func is not None:
        if not callable(func):
            raise TypeError("The `multiplexed` decorator must be used with a function or method.")
        if not inspect.iscoroutinefunction(func):
            raise TypeError("@serve.multiplexed can only be used to decorate async functions or methods.")
        parameters = inspect.signature(func).parameters
        if len(parameters) not in (1, 2):
            raise TypeError(
                "@serve.multiplexed can only be used to decorate functions or methods with exactly one argument, "
                "the model id, besides self."
            )
    if isinstance(max_num_models_per_replica, bool) or not isinstance(max_num_models_per_replica, int):
        raise TypeError("max_num_models_per_replica must be an integer.")
    if max_num_models_per_replica != -1 and max_num_models_per_replica <= 0:
        raise ValueError("max_num_models_per_replica must be positive.")
    if func is None:
        return functools.partial(multiplexed, max_num_models_per_replica=max_num_models_per_replica)
    return _wrap(func, max_num_models_per_replica)


def _wrap(func: Callable[..., Any], most: int) -> Callable[..., Any]:
    is_method = len(inspect.signature(func).parameters) == 2
    slot = f"__serve_models_{func.__name__}"

    @functools.wraps(func)
    async def load(*args: Any) -> Any:
        owner: Any = args[0] if is_method else load
        cache = owner.__dict__.get(slot)
        if cache is None:
            cache = owner.__dict__[slot] = ModelCache(func, owner if is_method else None, most)
        return await cache.get(args[-1])

    return load
