"""Many models in one replica: loaded when asked for, the one unused for longest given up."""

from __future__ import annotations

import asyncio
import collections
import inspect
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["ModelCache", "loaded_models"]

_caches: weakref.WeakSet[ModelCache] = weakref.WeakSet()


class ModelCache:
    """The models that one method marked with `narke.serve.multiplexed` has loaded for one instance.

    `drop` is a coroutine function that is given the models that give way; without it their ``__del__`` is awaited.
    """

    def __init__(
        self, load: Callable[..., Any], owner: Any, most: int, drop: Callable[[Any], Any] | None = None
    ) -> None:
        self._drop = drop or _give_up
        self._load = load
        self._owner = owner
        self._most = most
        self._models: collections.OrderedDict[str, Any] = collections.OrderedDict()
        self._loading: dict[str, asyncio.Future[Any]] = {}
        _caches.add(self)

    def ids(self) -> list[str]:
        """The models held."""
        return list(self._models)

    async def get(self, model_id: str) -> Any:
        """The model, loaded if need be.

        Raises:
            TypeError: `model_id` is no string.
            ValueError: it is empty.
        """
        if not isinstance(model_id, str):
            raise TypeError("The model ID must be a string.")
        if not model_id:
            raise ValueError("The model ID cannot be empty.")
        if model_id in self._models:
            self._models.move_to_end(model_id)
            return self._models[model_id]
        if model_id in self._loading:
            return await asyncio.shield(self._loading[model_id])
        future = self._loading[model_id] = asyncio.get_running_loop().create_future()
        try:
            model = await self._add(model_id)
        except BaseException as error:
            future.set_exception(error)
            future.exception()  # nobody may be waiting for it
            raise
        else:
            future.set_result(model)
            return model
        finally:
            del self._loading[model_id]

    async def _add(self, model_id: str) -> Any:
        while self._most > 0 and len(self._models) >= self._most:
            await self._drop(self._models.popitem(last=False)[1])
        args = (model_id,) if self._owner is None else (self._owner, model_id)
        model = self._load(*args)
        if inspect.isawaitable(model):
            model = await model
        self._models[model_id] = model
        return model


async def _give_up(model: Any) -> None:
    delete = getattr(type(model), "__del__", None)
    if delete is not None and inspect.iscoroutinefunction(delete):
        await delete(model)


def loaded_models() -> list[str]:
    """All multiplexed models of this process."""
    return [model for cache in _caches for model in cache.ids()]
