"""A first-in first-out queue that tasks, actors and drivers share."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable
from typing import Any

import narke
from narke.util.annotations import PublicAPI

__all__ = ["Empty", "Full", "Queue"]


@PublicAPI(stability="beta")
class Empty(queue.Empty):
    """Nothing was in the queue within the time allowed."""


@PublicAPI(stability="beta")
class Full(queue.Full):
    """The queue had no room within the time allowed."""


@PublicAPI(stability="beta")
class Queue:
    """A queue held by an actor; copies sent to tasks and actors are the same queue.

    Args:
        maxsize: most items held at once; 0 or less for no bound.
        actor_options: options for the actor that holds the items, such as ``{"num_cpus": 1}``.
    """

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None) -> None:
        self.maxsize = maxsize
        self.actor = narke.remote(_QueueActor).options(**(actor_options or {})).remote(maxsize)

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """Number of items held now."""
        return narke.get(self.actor.qsize.remote())

    def qsize(self) -> int:
        """Number of items held now."""
        return self.size()

    def empty(self) -> bool:
        """True when no item is held."""
        return narke.get(self.actor.empty.remote())

    def full(self) -> bool:
        """True when another `put` would wait."""
        return narke.get(self.actor.full.remote())

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item.

        Args:
            item: any serialisable value.
            block: wait for room.
            timeout: most seconds to wait; None waits for ever.

        Raises:
            Full: no room (within `timeout`).
            ValueError: negative timeout.
        """
        _get_plain(self._put(item, block, timeout))

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """`put` for coroutines."""
        await self._put(item, block, timeout)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item.

        Args:
            block: wait for one.
            timeout: most seconds to wait; None waits for ever.

        Raises:
            Empty: no item (within `timeout`).
            ValueError: negative timeout.
        """
        return _get_plain(self._get(block, timeout))

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """`get` for coroutines."""
        return await self._get(block, timeout)

    def put_nowait(self, item: Any) -> None:
        """Add an item or raise `Full` at once."""
        self.put(item, block=False)

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Add all items, or none of them and raise `Full`.

        Raises:
            TypeError: `items` is not iterable.
        """
        if not isinstance(items, Iterable):
            raise TypeError(f"put_nowait_batch takes an iterable of items, got {type(items).__name__}")
        _get_plain(self.actor.put_nowait_batch.remote(list(items)))

    def get_nowait(self) -> Any:
        """Take the oldest item or raise `Empty` at once."""
        return self.get(block=False)

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Take `num_items` items, or none of them and raise `Empty`.

        Raises:
            TypeError: `num_items` is no int.
            ValueError: it is negative.
        """
        if not isinstance(num_items, int):
            raise TypeError(f"get_nowait_batch takes a number of items, got {type(num_items).__name__}")
        if num_items < 0:
            raise ValueError(f"get_nowait_batch: num_items must not be negative, got {num_items}")
        return _get_plain(self.actor.get_nowait_batch.remote(num_items))

    def shutdown(self, force: bool = False, grace_period_s: int = 5) -> None:
        """End the queue's actor; calls waiting in it fail.

        Args:
            force: kill it at once.
            grace_period_s: seconds that calls made earlier have to finish when not forced.
        """
        if self.actor is None:
            return
        if not force:
            _, running = narke.wait([self.actor.__ray_terminate__.remote()], timeout=grace_period_s)
            force = bool(running)
        if force:
            narke.kill(self.actor, no_restart=True)
        self.actor = None

    def _put(self, item: Any, block: bool, timeout: float | None) -> Any:
        _check_timeout(block, timeout)
        if not block:
            return self.actor.put_nowait.remote(item)
        return self.actor.put.remote(item, timeout)

    def _get(self, block: bool, timeout: float | None) -> Any:
        _check_timeout(block, timeout)
        if not block:
            return self.actor.get_nowait.remote()
        return self.actor.get.remote(timeout)


def _get_plain(ref: Any) -> Any:
    """The value of a reference; Empty and Full without the trace of the queue's actor."""
    try:
        return narke.get(ref)
    except (Empty, Full) as error:
        raise getattr(error, "cause", error) from None


def _check_timeout(block: bool, timeout: float | None) -> None:
    if block and timeout is not None and timeout < 0:
        raise ValueError(f"'timeout' must be a non-negative number of seconds, got {timeout}")


class _QueueActor:
    """Holds the items; coroutine methods let many callers wait at once."""

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self.queue: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    async def qsize(self) -> int:
        return self.queue.qsize()

    async def empty(self) -> bool:
        return self.queue.empty()

    async def full(self) -> bool:
        return self.queue.full()

    async def put(self, item: Any, timeout: float | None = None) -> None:
        try:
            await asyncio.wait_for(self.queue.put(item), timeout)
        except asyncio.TimeoutError:
            raise Full(f"no room for an item within {timeout} s (maxsize {self.maxsize})") from None

    async def get(self, timeout: float | None = None) -> Any:
        try:
            return await asyncio.wait_for(self.queue.get(), timeout)
        except asyncio.TimeoutError:
            raise Empty(f"no item arrived within {timeout} s") from None

    async def put_nowait(self, item: Any) -> None:
        try:
            self.queue.put_nowait(item)
        except asyncio.QueueFull:
            raise Full(f"the queue holds its maximum of {self.maxsize} items") from None

    async def put_nowait_batch(self, items: list[Any]) -> None:
        held = self.queue.qsize()
        if self.maxsize > 0 and held + len(items) > self.maxsize:
            raise Full(f"cannot add {len(items)} items: {held} of at most {self.maxsize} are held already")
        for item in items:
            self.queue.put_nowait(item)

    async def get_nowait(self) -> Any:
        try:
            return self.queue.get_nowait()
        except asyncio.QueueEmpty:
            raise Empty("the queue holds no item") from None

    async def get_nowait_batch(self, num_items: int) -> list[Any]:
        held = self.queue.qsize()
        if num_items > held:
            raise Empty(f"cannot take {num_items} items: only {held} are held")
        return [self.queue.get_nowait() for _ in range(num_items)]
