"""A map operator whose chain runs in a pool of actors."""

from __future__ import annotations

from typing import Any

import narke
from narke.data.compute import ActorPoolStrategy
from narke.data.execute.operators import Grouper, Operator, Ordered
from narke.data.execute.tasks import MapWorker

IN_FLIGHT = 2


class PoolOp(Ordered):
    """Feeds actors that are ready; adds one when all are busy and there is more to do.

    Actors that are still building their classes, or waiting for a place in the cluster, get no blocks.

    Args:
        chain: reference to the `Chain`.
        strategy: bounds of the pool. room: most actors that fit the cluster.
        min_rows: bundles are put together until they have so many rows.
    """

    def __init__(
        self,
        name: str,
        upstreams: list[Operator],
        options: dict[str, Any],
        chain: Any,
        strategy: ActorPoolStrategy,
        room: int,
        min_rows: int | None = None,
        in_flight: int | None = None,
    ):
        super().__init__(name, upstreams, options, 0)
        self._chain = chain
        self._most = max(strategy.min_size, min(strategy.max_size or room, room))
        self._each = strategy.max_tasks_in_flight_per_actor or in_flight or IN_FLIGHT
        self._groups = Grouper(min_rows)
        self._busy: dict[Any, int] = {}
        self._building: dict[Any, Any] = {}
        self._runs_on: dict[Any, Any] = {}
        for _ in range(min(strategy.initial_size, self._most)):
            self._grow()

    def _grow(self) -> None:
        options = {"max_restarts": -1, "max_task_retries": -1, "placement_group": None, **self.options}
        actor = narke.remote(MapWorker).options(**options).remote(self._chain)
        self._building[actor.ready.remote()] = actor

    def advance(self) -> None:
        if self.stopped:
            return
        self._groups.fill(self.upstreams[0])
        busy = all(count > 0 for count in self._busy.values())
        if self._groups.ready and busy and not self._building and len(self._busy) < self._most:
            self._grow()
        if self.finished:
            self._end_actors()

    def _has_work(self) -> bool:
        return self._groups.holds_any

    def _free_actor(self) -> Any:
        actor = min(self._busy, key=lambda a: self._busy[a], default=None)
        return actor if actor is not None and self._busy[actor] < self._each else None

    def can_start(self) -> bool:
        return not self.stopped and bool(self._groups.ready) and self._free_actor() is not None

    def start(self) -> None:
        actor = self._free_actor()
        refs = [b.ref for b in self._groups.ready.popleft()]
        generator = actor.run.options(num_returns="streaming").remote(self._started, *refs)
        self._busy[actor] += 1
        self._runs_on[generator] = actor
        self._submit(generator)

    def running(self) -> list[Any]:
        waiting = list(self._building) if self._has_work() or not self._busy else []
        return [*self._running, *([] if self.finished else waiting)]

    def on_ready(self, waitable: Any) -> None:
        actor = self._building.pop(waitable, None)
        if actor is None:
            super().on_ready(waitable)
            return
        narke.get(waitable)
        self._busy[actor] = 0

    def _ended(self, waitable: Any) -> None:
        self._busy[self._runs_on.pop(waitable)] -= 1

    def queued_bytes(self) -> int:
        return super().queued_bytes() + self._groups.size_bytes()

    def stop(self) -> None:
        super().stop()
        self._end_actors()

    def _end_actors(self) -> None:
        for actor in [*self._busy, *self._building.values()]:
            narke.kill(actor)
        self._busy.clear()
        self._building.clear()
