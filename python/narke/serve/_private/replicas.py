"""The controller's end of one replica: starts its actor, asks how it is, tells when it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import narke
from narke.serve._private.common import NAMESPACE, DeploymentID, ReplicaID
from narke.serve._private.deployment_state import ReplicaRecord
from narke.serve._private.targets import DeploymentTarget

__all__ = ["ReplicaLink"]

_SCALED_PERIOD_S = 0.5


class ReplicaLink:
    """Talks to one replica until it is gone.

    Attributes:
        actor_id: of its actor, bytes.
    """

    def __init__(self, handle: Any, record: ReplicaRecord, target: DeploymentTarget, controller: Any) -> None:
        self._handle = handle
        self._record = record
        self._key = target.key
        self._target = target
        self._controller = controller
        self._group: Any = None
        self.actor_id: bytes = handle._ref.actor_id
        self._tasks: list[asyncio.Task[None]] = []
        self._watch(self._watch_end())
        if record.facts:
            self._watch(self._watch_health())

    @classmethod
    def start(cls, record: ReplicaRecord, target: DeploymentTarget, controller: Any) -> ReplicaLink:
        """Make the actor and have it run its constructor."""
        group, options = _actor_options(record, target)
        config = {**target.replica_config(), "rank": record.rank}
        handle = _replica_class().options(**options).remote(target.key, record.id, target.payload, config)
        link = cls(handle, record, target, controller)
        link._group = group
        link._watch(link._bring_up())
        return link

    def _watch(self, work: Any) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def _bring_up(self) -> None:
        state = self._controller.state_of
        try:
            await self._handle.__ray_ready__.remote()
            if found := state(self._key):
                found.on_alive(self._record.id)
            facts = await self._handle.initialize.remote()
        except Exception as error:
            return self._start_failed(error)
        if found := state(self._key):
            found.on_started(self._record.id, facts)
        self._controller.changed()
        self._watch(self._watch_health())

    def _start_failed(self, error: Exception) -> None:
        cause = getattr(error, "cause", None) or error
        if found := self._controller.state_of(self._key):
            found.on_start_failed(self._record.id, str(cause), time.monotonic())
        self._close()
        self.kill()
        self._controller.on_gone(self._key, self._record.id, str(cause))

    async def _watch_end(self) -> None:
        try:
            await self._handle.serve_until_end.remote()
            why = "it left"
        except Exception as error:
            why = str(error)
        self._close()
        self._controller.on_gone(self._key, self._record.id, why)

    def _close(self) -> None:
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        if self._group is not None:
            with contextlib.suppress(Exception):
                narke.util.remove_placement_group(self._group)
            self._group = None

    async def _watch_health(self) -> None:
        checked = time.monotonic()
        while True:
            target = (
                self._controller.state_of(self._key).target
                if self._controller.state_of(self._key)
                else self._target
            )
            scaled = target.autoscaling is not None
            await asyncio.sleep(
                min(target.health_check_period_s, _SCALED_PERIOD_S)
                if scaled
                else min(target.health_check_period_s, 2.0)
            )
            due = time.monotonic() - checked >= target.health_check_period_s
            method = self._handle.check_health if due else self._handle.stats
            if due:
                checked = time.monotonic()
            try:
                numbers = await asyncio.wait_for(method.remote(), target.health_check_timeout_s)
                self._controller.on_numbers(self._key, self._record.id, numbers)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._ill(
                    error
                    if str(error)
                    else TimeoutError(f"no answer within {target.health_check_timeout_s} s")
                )

    def _ill(self, error: Exception) -> None:
        cause = getattr(error, "cause", None) or error
        if found := self._controller.state_of(self._key):
            found.on_ill(self._record.id, f"{type(cause).__name__}: {cause}")
        self._controller.changed()

    async def reconfigure(self, target: DeploymentTarget) -> None:
        """Hand over a new config."""
        error: str | None = None
        self._target = target
        try:
            await self._handle.reconfigure.remote({**target.replica_config(), "rank": self._record.rank})
        except Exception as failure:
            error = str(getattr(failure, "cause", None) or failure)
        if found := self._controller.state_of(self._key):
            self._record.facts["max_ongoing_requests"] = target.max_ongoing_requests
            found.on_reconfigured(self._record.id, target.config_hash(), error)
        self._controller.changed()

    async def stop(self, target: DeploymentTarget) -> None:
        """Drain it, then end its actor."""
        limit = target.graceful_shutdown_timeout_s
        with contextlib.suppress(Exception):  # whatever happens, it is ended below
            work = self._handle.drain.remote(target.graceful_shutdown_wait_loop_s, limit)
            await asyncio.wait_for(work, limit + 2)
        self.kill()

    def kill(self) -> None:
        """End its actor at once."""
        narke.kill(self._handle)


_class: Any = None


def _replica_class() -> Any:
    global _class
    if _class is None:
        from narke.serve._private.replica import Replica

        _class = narke.remote(Replica)
    return _class


def _actor_options(record: ReplicaRecord, target: DeploymentTarget) -> tuple[Any, dict[str, Any]]:
    name = ReplicaID(record.id, DeploymentID(target.name, target.app_name)).actor_name
    options = {k: v for k, v in target.actor_options.items() if v is not None}
    options.setdefault("num_cpus", 1)
    options.update(name=name, namespace=NAMESPACE, lifetime="detached", max_restarts=0, max_task_retries=0)
    options["max_concurrency"] = 10_000
    if not target.placement:
        return None, options
    from narke.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = narke.util.placement_group(
        target.placement["bundles"],
        strategy=target.placement.get("strategy") or "PACK",
        name=name,
        lifetime="detached",
        bundle_label_selector=target.placement.get("labels"),
    )
    options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
        placement_group=group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
    )
    return group, options
