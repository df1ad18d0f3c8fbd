"""Places at replicas handed out by one actor, for routers in many processes."""

from __future__ import annotations

import asyncio
import collections
import dataclasses

import narke

__all__ = ["CapacityQueue", "CapacityQueueStats", "ReplicaCapacityInfo"]


@dataclasses.dataclass
class ReplicaCapacityInfo:
    """How many places a replica has, and how many are taken."""

    replica_id: str
    max_capacity: int
    in_flight: int = 0


@dataclasses.dataclass
class CapacityQueueStats:
    """Counts of a `CapacityQueue`."""

    queue_size: int
    num_waiters: int
    num_replicas: int
    total_capacity: int
    total_in_flight: int
    total_acquires: int
    total_releases: int
    total_timeouts: int
    max_waiters_seen: int


class _CapacityQueue:
    """Gives the least loaded replica's place to who asks first; without one, who asks waits.

    Args:
        acquire_timeout_s: how long, unless `acquire` says otherwise; None: without limit.
        token_ttl_s: a place that is not given back after so long counts as free; None: never.
    """

    def __init__(
        self,
        acquire_timeout_s: float | None = None,
        token_ttl_s: float | None = None,
        _enable_long_poll: bool = True,
    ) -> None:
        self._timeout_s = acquire_timeout_s
        self._ttl_s = token_ttl_s
        self._replicas: dict[str, ReplicaCapacityInfo] = {}
        self._expiries: dict[str, collections.deque[asyncio.TimerHandle]] = {}
        self._waiters: collections.deque[asyncio.Future[str]] = collections.deque()
        self._acquires = self._releases = self._timeouts = self._most_waiters = 0

    async def register_replica(self, replica_id: str, capacity: int) -> None:
        """There is a replica, or it has another number of places."""
        known = self._replicas.get(replica_id)
        self._replicas[replica_id] = ReplicaCapacityInfo(
            replica_id, capacity, known.in_flight if known else 0
        )
        self._serve()

    async def unregister_replica(self, replica_id: str) -> None:
        """A replica is gone."""
        self._replicas.pop(replica_id, None)
        for timer in self._expiries.pop(replica_id, ()):
            timer.cancel()

    async def acquire(self, timeout_s: float | None = None) -> str | None:
        """A place: the replica's id; None when there was none in time."""
        if (found := self._take()) is not None:
            return found
        waiter: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._most_waiters = max(self._most_waiters, len(self._waiters))
        try:
            return await asyncio.wait_for(waiter, self._timeout_s if timeout_s is None else timeout_s)
        except asyncio.TimeoutError:
            self._timeouts += 1
            return None
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    async def release(self, replica_id: str) -> None:
        """Give a place back."""
        if timers := self._expiries.get(replica_id):
            timers.popleft().cancel()
        self._free(replica_id)

    def _take(self) -> str | None:
        free = [info for info in self._replicas.values() if info.in_flight < info.max_capacity]
        if not free:
            return None
        info = min(free, key=lambda each: each.in_flight / each.max_capacity)
        info.in_flight += 1
        self._acquires += 1
        if self._ttl_s is not None:
            timer = asyncio.get_running_loop().call_later(self._ttl_s, self._expire, info.replica_id)
            self._expiries.setdefault(info.replica_id, collections.deque()).append(timer)
        return info.replica_id

    def _expire(self, replica_id: str) -> None:
        if timers := self._expiries.get(replica_id):
            timers.popleft()
        self._free(replica_id)

    def _free(self, replica_id: str) -> None:
        info = self._replicas.get(replica_id)
        if info is not None and info.in_flight > 0:
            info.in_flight -= 1
            self._releases += 1
        self._serve()

    def _serve(self) -> None:
        while self._waiters:
            if self._waiters[0].done():
                self._waiters.popleft()
                continue
            found = self._take()
            if found is None:
                return
            self._waiters.popleft().set_result(found)

    async def get_num_waiters(self) -> int:
        """Who waits for a place."""
        return len(self._waiters)

    async def get_queue_length(self) -> int:
        """Places that are free."""
        return sum(info.max_capacity - info.in_flight for info in self._replicas.values())

    async def get_registered_replicas(self) -> list[str]:
        """Ids of the replicas."""
        return list(self._replicas)

    async def get_replica_in_flight(self) -> dict[str, int]:
        """Places taken, by replica."""
        return {name: info.in_flight for name, info in self._replicas.items()}

    async def get_stats(self) -> CapacityQueueStats:
        """All counts."""
        infos = self._replicas.values()
        return CapacityQueueStats(
            queue_size=sum(info.max_capacity - info.in_flight for info in infos),
            num_waiters=len(self._waiters),
            num_replicas=len(self._replicas),
            total_capacity=sum(info.max_capacity for info in infos),
            total_in_flight=sum(info.in_flight for info in infos),
            total_acquires=self._acquires,
            total_releases=self._releases,
            total_timeouts=self._timeouts,
            max_waiters_seen=self._most_waiters,
        )


CapacityQueue = narke.remote(_CapacityQueue)
