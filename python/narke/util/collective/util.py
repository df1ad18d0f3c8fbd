"""Actors with which members of groups find each other, for programs that use them by themselves."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["Info", "NCCLUniqueIDStore"]


class NCCLUniqueIDStore:
    """Holds an id that one process sets and others wait for; make it an actor with `narke.remote`.

    Args:
        name: what the id is for.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.nccl_id: Any = None
        self.event = asyncio.Event()

    async def set_id(self, uid: Any) -> Any:
        """Set the id and return it."""
        self.nccl_id = uid
        self.event.set()
        return uid

    async def wait_and_get_id(self) -> Any:
        """Return the id as soon as it is set."""
        await self.event.wait()
        return self.nccl_id

    async def get_id(self) -> Any:
        """Return the id, None before it is set."""
        return self.nccl_id


class Info:
    """Holds a group's description; make it an actor with `narke.remote`."""

    def __init__(self) -> None:
        self.ids: Any = None
        self.world_size = -1
        self.rank: Any = -1
        self.backend: Any = None
        self.gloo_timeout: int | None = None

    def set_info(self, ids: Any, world_size: int, rank: Any, backend: str, gloo_timeout: int) -> None:
        """Set the description: ids of the actors, their number, their ranks, the backend and its timeout
        (ms).
        """
        self.ids = ids
        self.world_size = world_size
        self.rank = rank
        self.backend = backend
        self.gloo_timeout = gloo_timeout

    def get_info(self) -> tuple[Any, ...]:
        """Return the description in the order of `set_info`."""
        return self.ids, self.world_size, self.rank, self.backend, self.gloo_timeout
