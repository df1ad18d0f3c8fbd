"""The controller's end of one replica: starts its actor, asks how it is, tells when it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import narke
from narke._private import preloads
from narke.serve._private.common import NAMESPACE, DeploymentID, ReplicaID
from narke.serve._private.deployment_state import ReplicaRecord
from narke.serve._private.targets import DeploymentTarget

__all__ = ["ReplicaLink"]

_SCALED_PERIOD_S = 0.5
_IMPLICIT = "node:__internal_implicit_resource_"  # see is_implicit in src/sched/resources.h


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
        config = {**target.replica_config(), **_place(record), "tracing": controller.tracing()}
        handle = _replica_class().options(**options).remote(target.key, record.id, target.payload, config)
        link = cls(handle, record, target, controller)
        link._group = group
        link._watch(link._bring_up())
        return link

    @property
    def gang_group(self) -> str:
        """Name of the placement group that it has together with its gang; "" where it has none."""
        return self._record.gang["pg_name"] if self._record.gang else ""

    def remove_gang_group(self) -> None:
        """The last replica of the gang is gone."""
        if self.gang_group:
            with contextlib.suppress(ValueError):  # there is none: the replicas need no resources
                narke.util.remove_placement_group(narke.util.get_placement_group(self.gang_group))

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
            await self._handle.reconfigure.remote({**target.replica_config(), **_place(self._record)})
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
    options.update(max_concurrency=10_000, _preload=preloads.SERVE)
    if record.gang is not None:
        options.update(_gang_place(record.gang, target))
        return None, options
    if not target.placement:
        options.update(_spread(target))
        return None, options
    group = _group(target.placement["bundles"], target.placement.get("strategy") or "PACK", name, target)
    options["scheduling_strategy"] = _in_group(group, 0)
    return group, options


def _spread(target: DeploymentTarget) -> dict[str, Any]:
    """Options of an actor for which no place is reserved: replicas go to the nodes in turn, and where the deployment
    bounds their number, each takes its part of a resource that every node has once."""
    wanted: dict[str, Any] = {}
    if not target.actor_options.get("label_selector"):  # which is a strategy of its own
        wanted["scheduling_strategy"] = "SPREAD"
    if most := target.max_replicas_per_node:
        share = {f"{_IMPLICIT}{target.app_name}:{target.name}": 10_000 // most / 10_000}
        wanted["resources"] = {**(target.actor_options.get("resources") or {}), **share}
    return wanted


def _place(record: ReplicaRecord) -> dict[str, Any]:
    """What a replica is told of itself among the others."""
    gang = {k: v for k, v in record.gang.items() if k != "breaks"} if record.gang else None
    return {"rank": record.rank, "gang": gang}


def _group(bundles: list[dict[str, float]], strategy: str, name: str, target: DeploymentTarget) -> Any:
    labels = target.placement.get("labels") if target.placement else None
    return narke.util.placement_group(
        bundles,
        strategy=strategy,
        name=name,
        lifetime="detached",
        bundle_label_selector=labels and labels * (len(bundles) // len(labels)),
    )


def _in_group(group: Any, bundle: int) -> Any:
    from narke.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    return PlacementGroupSchedulingStrategy(
        placement_group=group, placement_group_bundle_index=bundle, placement_group_capture_child_tasks=True
    )


def _gang_place(gang: dict[str, Any], target: DeploymentTarget) -> dict[str, Any]:
    """Options of the actor that is a gang's replica: its part of the placement group, which the first of them makes."""
    assert target.gang is not None, "a replica of a gang belongs to a deployment with gangs"
    own = target.placement["bundles"] if target.placement else _needs(target.actor_options)
    if not own:
        return {}
    try:
        group = narke.util.get_placement_group(gang["pg_name"])
    except ValueError:
        group = _group(own * gang["world_size"], target.gang["strategy"], gang["pg_name"], target)
    return {"scheduling_strategy": _in_group(group, gang["rank"] * len(own))}


def _needs(options: dict[str, Any]) -> list[dict[str, float]]:
    """The bundle of a replica; none where it needs no resources."""
    cpus = options.get("num_cpus")
    amounts = {"CPU": 1 if cpus is None else cpus, "GPU": options.get("num_gpus") or 0}
    amounts.update(options.get("resources") or {})
    bundle = {name: amount for name, amount in amounts.items() if amount}
    return [bundle] if bundle else []
