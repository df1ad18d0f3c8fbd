"""What operators ask of a replica that has a model."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

__all__ = ["EngineControl"]

logger = logging.getLogger("ray.serve")


class EngineControl:
    """The part of `LLMServer` that answers no requests."""

    _engine: Any
    _going: asyncio.Event

    def __init__(self) -> None:
        self._going = asyncio.Event()
        self._going.set()
        self._is_paused = False
        self._is_asleep = False

    async def check_health(self) -> None:
        """Raise if the engine does not run any more."""
        await self._engine.check_health()

    async def record_routing_stats(self) -> dict[str, Any]:
        """What routers may know of this replica; see the engine's ``figures``."""
        return dict(self._engine.figures())

    async def pause(self, **kwargs: Any) -> None:
        """Let further requests wait until `resume`."""
        self._is_paused = True
        self._going.clear()

    async def resume(self, **kwargs: Any) -> None:
        """Go on after `pause`."""
        self._is_paused = False
        self._open()

    async def is_paused(self) -> bool:
        """Whether requests wait for `resume`."""
        return self._is_paused

    async def sleep(self, **kwargs: Any) -> None:
        """Give the model's memory back once nothing runs; requests wait until `wakeup`.

        Args:
            kwargs: ``level``: 1 keeps the weights in the CPU's memory, 2 drops them; `wakeup` loads them again.
        """
        self._is_asleep = True
        self._going.clear()
        await self._engine.sleep(**{"level": 1, **kwargs})

    async def wakeup(self, **kwargs: Any) -> None:
        """Have the model again after `sleep`."""
        await self._engine.wake_up(**kwargs)
        self._is_asleep = False
        self._open()

    async def is_sleeping(self) -> bool:
        """Whether requests wait for `wakeup`."""
        return self._is_asleep

    def _open(self) -> None:
        if not self._is_paused and not self._is_asleep:
            self._going.set()

    async def reset_prefix_cache(self) -> None:
        """Forget what was read of prompts."""
        await self._engine.reset_prefix_cache()

    async def start_profile(self) -> None:
        """Record what the engine does."""
        await self._engine.start_profile()

    async def stop_profile(self) -> None:
        """End that; the log says where the trace is."""
        logger.info("The profile is in %s.", await self._engine.stop_profile())

    async def collective_rpc(
        self, method: str, timeout: float | None = None, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> list[Any]:
        """What a method gives on each of the engine's workers; with transformers, one of the model itself.

        Raises:
            TimeoutError: it took longer than `timeout` seconds.
            AttributeError: there is no such method.
        """
        return list(await asyncio.wait_for(self._engine.call(method, args, kwargs or {}), timeout))
