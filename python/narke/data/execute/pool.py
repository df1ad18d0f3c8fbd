"""A map operator whose chain runs in a pool of actors."""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import Any

import narke
from narke._private import preloads
from narke.data.compute import ActorPoolStrategy
from narke.data.execute.operators import Grouper, Operator, Ordered
from narke.data.execute.tasks import MapWorker
from narke.data.table_settings import AutoscalingConfig

IN_FLIGHT = 2
IDLE_S = 2.0  # an actor must have had nothing to do for so long before its pool shrinks


@dataclasses.dataclass(frozen=True)
class PoolLimits:
    """How a pool is run.

    Args:
        room: most actors that fit the cluster. in_flight: blocks given to an actor at once; None for two.
        min_rows: bundles are put together until they have so many rows.
        scaling: when it grows and shrinks. retry: `retry_exceptions` of the calls.
        init_retry, init_attempts: errors of the constructor after which it is tried again, and how often in all.
        args_fn: gives further options of each actor when it is started.
    """

    room: int
    in_flight: int | None = None
    min_rows: int | None = None
    scaling: AutoscalingConfig = dataclasses.field(default_factory=AutoscalingConfig)
    retry: Any = False
    init_retry: Any = False
    init_attempts: int = 1
    args_fn: Any = None


class PoolOp(Ordered):
    """Feeds actors that are ready; grows when they have more to do than they should, shrinks when some have nothing.

    Actors that are still building their classes, or waiting for a place in the cluster, get no blocks.

    Args:
        chain: reference to the `Chain`. strategy: bounds of the pool. limits: see there.
    """

    def __init__(
        self,
        name: str,
        upstreams: list[Operator],
        options: dict[str, Any],
        chain: Any,
        strategy: ActorPoolStrategy,
        limits: PoolLimits,
    ):
        super().__init__(name, upstreams, options, 0)
        self._chain, self._limits, self._least = chain, limits, strategy.min_size
        self._most = max(strategy.min_size, min(strategy.max_size or limits.room, limits.room))
        self._each = strategy.max_tasks_in_flight_per_actor or limits.in_flight or IN_FLIGHT
        self._concurrency = strategy.max_concurrent_calls_per_actor or 1
        self._turns = self._concurrency > 1 and not strategy.enable_true_multi_threading
        self._groups = Grouper(limits.min_rows)
        self._busy: dict[Any, int] = {}
        self._idle_since_s: dict[Any, float] = {}
        self._building: dict[Any, Any] = {}
        self._runs_on: dict[Any, Any] = {}
        for _ in range(min(strategy.initial_size, self._most)):
            self._grow()

    @property
    def size(self) -> int:
        """Actors, those that are being built too."""
        return len(self._busy) + len(self._building)

    @property
    def has_least(self) -> bool:
        """Whether the least number of actors, or as many as fit, can work."""
        return len(self._busy) >= min(self._least, self._limits.room)

    def building(self) -> list[Any]:
        """What is ready when an actor is."""
        return list(self._building)

    def _grow(self) -> None:
        options = {
            "max_restarts": -1,
            "max_task_retries": -1,
            "placement_group": None,
            "_preload": preloads.DATA,
        }
        options.update(self.options)
        options.update(self._limits.args_fn() if self._limits.args_fn else {})
        if self._concurrency > 1:
            options.setdefault("max_concurrency", self._concurrency)
        limits = self._limits
        worker = narke.remote(MapWorker).options(**options)
        actor = worker.remote(self._chain, limits.init_retry, limits.init_attempts, self._turns)
        self._building[actor.ready.remote()] = actor

    def advance(self) -> None:
        if self.stopped:
            return
        self._groups.fill(self.upstreams[0])
        self._scale()
        if self.finished:
            self._end_actors()

    def use(self) -> float:
        """Blocks that are worked on or wait, per block that is to be worked on at once."""
        waiting = len(self._groups.ready) + len(self.upstreams[0].outputs)
        return (self.in_flight + waiting) / max(1, len(self._busy) * self._concurrency)

    def _scale(self) -> None:
        scaling = self._limits.scaling
        if self._groups.ready and not self._building and self.size < self._most:
            if self._free_actor(idle=True) is None and (
                not self._busy or self.use() >= min(1.0, scaling.actor_pool_util_upscaling_threshold)
            ):
                for _ in range(min(scaling.actor_pool_max_upscaling_delta or 1, self._most - self.size)):
                    self._grow()
        elif self.size > self._least and self.use() < scaling.actor_pool_util_downscaling_threshold:
            self._shrink()
        elif self._busy and all(up.done for up in self.upstreams) and not self._groups.holds_any:
            self._shrink(0.0)

    def _shrink(self, idle_s: float = IDLE_S) -> None:
        """End the actor that has had nothing to do for longest, if that is long enough."""
        actor = min(self._idle_since_s, key=lambda a: self._idle_since_s[a], default=None)
        if actor is not None and time.perf_counter() - self._idle_since_s[actor] >= idle_s:
            del self._idle_since_s[actor], self._busy[actor]
            narke.kill(actor)

    def _has_work(self) -> bool:
        return self._groups.holds_any

    def _free_actor(self, idle: bool = False) -> Any:
        actor = min(self._busy, key=lambda a: self._busy[a], default=None)
        most = 1 if idle else self._each
        return actor if actor is not None and self._busy[actor] < most else None

    def can_start(self) -> bool:
        return not self.stopped and bool(self._groups.ready) and self._free_actor() is not None

    def start(self) -> None:
        actor = self._free_actor()
        refs = [b.ref for b in self._groups.ready.popleft()]
        call = actor.run.options(num_returns="streaming", **self._retries())
        self._busy[actor] += 1
        self._idle_since_s.pop(actor, None)
        generator = self._submit(functools.partial(call.remote, self._started, *refs))
        self._runs_on[generator] = actor

    def _retries(self) -> dict[str, Any]:
        return {"retry_exceptions": self._limits.retry} if self._limits.retry else {}

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
        self._idle_since_s[actor] = time.perf_counter()

    def _ended(self, waitable: Any) -> None:
        actor = self._runs_on.pop(waitable)
        self._busy[actor] -= 1
        if not self._busy[actor]:
            self._idle_since_s[actor] = time.perf_counter()

    def queued_bytes(self) -> int:
        return super().queued_bytes() + self._groups.size_bytes()

    def stop(self) -> None:
        super().stop()
        self._end_actors()

    def _end_actors(self) -> None:
        for actor in [*self._busy, *self._building.values()]:
            narke.kill(actor)
        self._busy.clear()
        self._idle_since_s.clear()
        self._building.clear()
