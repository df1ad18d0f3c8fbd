"""One deployment's way to its target: pure. Events come in, orders go out; time is an argument.

A replica is STARTING until its constructor has returned, RUNNING while it serves, UPDATING while it takes a new config,
STOPPING while it drains. An update starts new replicas before it stops old ones, as many at once as the target allows;
where there is no room for a new one, an old one is stopped first. Replicas of a gang start and stop together; when one
ends, the others end, too, unless the gang's policy is to replace that one alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from narke.serve._private.common import DeploymentStatus, DeploymentStatusTrigger, ReplicaState, random_name
from narke.serve._private.targets import DeploymentTarget

__all__ = ["DeploymentState", "Order", "ReplicaRecord", "at_capacity"]

UNHEALTHY_AFTER = 3  # failed health checks in a row
NO_ROOM_AFTER_S = 3.0  # a new replica without a process after this: there is no room for it
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 16.0


@dataclasses.dataclass
class ReplicaRecord:
    """What is known of a replica."""

    id: str
    version: str
    config_hash: str
    state: ReplicaState
    started_at: float
    rank: int = 0
    gang: dict[str, Any] | None = None  # fields of its GangContext
    is_alive: bool = False
    failed_checks: int = 0
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    numbers: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Order:
    """Something to be done: start, stop (after draining), kill or reconfigure a replica."""

    what: str
    replica: str


def at_capacity(count: int, percent: float | None) -> int:
    """A share of a number of replicas, as ``target_capacity`` asks: half a replica is one, and none only at 0.

    Args:
        count: at full capacity.
        percent: 0 to 100; None: 100.
    """
    if percent is None or count == 0:
        return count
    return 0 if percent == 0 else max(1, math.floor(count * percent / 100 + 0.5))


_ACTIVE = (ReplicaState.STARTING, ReplicaState.UPDATING, ReplicaState.RUNNING)
_SERVING = (ReplicaState.UPDATING, ReplicaState.RUNNING)


class DeploymentState:
    """The replicas of one deployment, and what it looks like from outside.

    Attributes:
        target: as it shall be.
        count: replicas it shall have now; whole gangs.
        replicas: by id.
        status, trigger, message: for people.
        is_deleting: it shall go.
        capacity: percentage of the replicas that are wanted, or None.
    """

    def __init__(self, target: DeploymentTarget, now: float, capacity: float | None = None) -> None:
        self.target = target
        self.capacity = capacity
        self.count = at_capacity(target.num_replicas, capacity)
        self.replicas: dict[str, ReplicaRecord] = {}
        self.status = DeploymentStatus.UPDATING
        self.trigger = DeploymentStatusTrigger.CONFIG_UPDATE_STARTED
        self.message = ""
        self.is_deleting = False
        self._head = ""
        self._draining: frozenset[str] = frozenset()
        self._crowds: Mapping[str, int] = {}
        self.failures = 0
        self.has_started = False  # a replica of this version has run
        self._start_after = now

    @property
    def count(self) -> int:
        """Replicas it shall have now."""
        return self._count

    @count.setter
    def count(self, value: int) -> None:
        self._count = self._in_gangs(value)

    def _gang_size(self) -> int:
        return int(self.target.gang["size"]) if self.target.gang else 1

    def _in_gangs(self, count: int) -> int:
        """So many replicas, or as many more as make whole gangs."""
        size = self._gang_size()
        return math.ceil(count / size) * size

    # ---- orders from above ----

    def set_target(self, target: DeploymentTarget, now: float) -> None:
        """Aim at something new."""
        code_changed = target.version != self.target.version
        count_only = not code_changed and target.config_hash() == self.target.config_hash()
        grows = at_capacity(target.num_replicas, self.capacity) - self.count
        self.target = target
        self.is_deleting = False
        self.failures = 0
        self._start_after = now
        self.message = ""
        if code_changed:
            self.has_started = False
        if target.autoscaling is None or code_changed:
            self.count = at_capacity(target.num_replicas, self.capacity)
        if count_only and grows and target.autoscaling is None:
            self._set(
                DeploymentStatus.UPSCALING if grows > 0 else DeploymentStatus.DOWNSCALING,
                DeploymentStatusTrigger.CONFIG_UPDATE_STARTED,
            )
        else:
            self._set(DeploymentStatus.UPDATING, DeploymentStatusTrigger.CONFIG_UPDATE_STARTED)

    def scale(self, count: int) -> bool:
        """Have another number of replicas; whether that is a change."""
        count = self._in_gangs(count)
        if count == self.count or self.is_deleting:
            return False
        grows = count > self.count
        self.count = count
        if self.status != DeploymentStatus.UPDATING:
            self._set(
                DeploymentStatus.UPSCALING if grows else DeploymentStatus.DOWNSCALING,
                DeploymentStatusTrigger.AUTOSCALING,
            )
        return True

    def set_capacity(self, percent: float | None) -> None:
        """Have a share of the replicas; an autoscaler brings its own number."""
        self.capacity = percent
        if self.target.autoscaling is None:
            self.scale(at_capacity(self.target.num_replicas, percent))

    def delete(self) -> None:
        """Stop everything."""
        self.is_deleting = True
        self.count = 0
        self._set(DeploymentStatus.UPDATING, DeploymentStatusTrigger.DELETING)

    # ---- what happened ----

    def see_nodes(self, head: str, draining: frozenset[str], crowds: Mapping[str, int]) -> None:
        """How the nodes are.

        Args:
            head: the one that cannot be given back.
            draining: those that are to go; their replicas are replaced by others first.
            crowds: how many replicas of all deployments each node has.
        """
        self._head, self._draining, self._crowds = head, draining, crowds

    def on_alive(self, replica: str) -> None:
        """Its process is there; the constructor runs."""
        if record := self.replicas.get(replica):
            record.is_alive = True

    def on_started(self, replica: str, facts: dict[str, Any]) -> None:
        """Its constructor has returned."""
        record = self.replicas.get(replica)
        if record is None or record.state == ReplicaState.STOPPING:
            return
        record.state = ReplicaState.RUNNING
        record.facts = facts
        if record.version == self.target.version:
            self.has_started = True
            self.failures = 0

    def on_start_failed(self, replica: str, why: str, now: float) -> None:
        """Its constructor has raised, or its process ended before."""
        record = self.replicas.pop(replica, None)
        if record is None or record.version != self.target.version or self.is_deleting:
            return
        self.failures += 1
        pause = min(_FIRST_PAUSE_S * 2 ** (self.failures - 1), _LONGEST_PAUSE_S)
        self._start_after = now + pause
        self.message = (
            f"The deployment failed to start {self.failures} times in a row. The last failure: {why}"
        )
        if self.has_failed():
            self._set(DeploymentStatus.DEPLOY_FAILED, DeploymentStatusTrigger.REPLICA_STARTUP_FAILED)
        elif self.has_started:
            self._set(DeploymentStatus.UNHEALTHY, DeploymentStatusTrigger.REPLICA_STARTUP_FAILED)

    def on_reconfigured(self, replica: str, config_hash: str, error: str | None) -> None:
        """It has taken the config, or failed to."""
        record = self.replicas.get(replica)
        if record is None or record.state != ReplicaState.UPDATING:
            return
        record.state = ReplicaState.RUNNING
        record.config_hash = config_hash
        if error is not None:
            self.message = f"A replica could not be reconfigured: {error}"
            self._set(DeploymentStatus.UNHEALTHY, DeploymentStatusTrigger.HEALTH_CHECK_FAILED)
            record.failed_checks = UNHEALTHY_AFTER

    def on_numbers(self, replica: str, numbers: dict[str, Any]) -> bool:
        """It is well; whether the table must change (it holds other models)."""
        record = self.replicas.get(replica)
        if record is None:
            return False
        changed = any(record.numbers.get(key) != numbers.get(key) for key in ("models", "routing_stats"))
        record.numbers = numbers
        record.failed_checks = 0
        return changed

    def on_ill(self, replica: str, why: str) -> None:
        """A health check has failed or not come back in time."""
        record = self.replicas.get(replica)
        if record is None or record.state == ReplicaState.STOPPING:
            return
        record.failed_checks += 1
        if record.failed_checks >= UNHEALTHY_AFTER:
            self.message = f"A replica's health check failed. It will be replaced. Last failure: {why}"
            self._set(DeploymentStatus.UNHEALTHY, DeploymentStatusTrigger.HEALTH_CHECK_FAILED)

    def on_gone(self, replica: str, why: str, now: float) -> None:
        """Its process has ended."""
        record = self.replicas.get(replica)
        if record is None:
            return
        if record.state == ReplicaState.STARTING:
            return self.on_start_failed(replica, why, now)
        del self.replicas[replica]
        if record.state != ReplicaState.STOPPING and not self.is_deleting:
            self.message = f"A replica died: {why}"
            self._set(DeploymentStatus.UNHEALTHY, DeploymentStatusTrigger.HEALTH_CHECK_FAILED)

    def adopt(self, record: ReplicaRecord) -> None:
        """A replica that was started by an earlier controller."""
        self.replicas[record.id] = record
        self.has_started = self.has_started or record.version == self.target.version

    # ---- what follows ----

    def step(self, now: float) -> list[Order]:
        """What is to be done now; the records reflect it already."""
        orders = self._replace_ill() + self._break_gangs()
        if not self.is_deleting and not self.has_failed():
            orders += self._reconfigure() + self._start(now)
        orders += self._stop_surplus(now)
        self._settle()
        return orders

    def has_failed(self) -> bool:
        """Whether starting replicas of this version is given up."""
        limit = min(self.target.max_constructor_retry_count, 3 * max(1, self.count))
        return not self.has_started and self.failures >= limit

    def serving(self) -> list[ReplicaRecord]:
        """Replicas that requests may go to."""
        return [record for record in self.replicas.values() if record.state in _SERVING]

    def is_gone(self) -> bool:
        """Deleted, and nothing left."""
        return self.is_deleting and not self.replicas

    def _active(self, current: bool | None = None) -> list[ReplicaRecord]:
        return [
            r
            for r in self.replicas.values()
            if r.state in _ACTIVE and (current is None or self._may_stay(r) == current)
        ]

    def _may_stay(self, record: ReplicaRecord) -> bool:
        """Whether it is one of those that shall be: of this version, on a node that stays."""
        return record.version == self.target.version and not self._is_leaving(record)

    def _is_leaving(self, record: ReplicaRecord) -> bool:
        """Whether its node, or that of another of its gang, is to go."""
        members = record.gang["member_replica_ids"] if record.gang else (record.id,)
        known = [self.replicas[name] for name in members if name in self.replicas]
        return any(each.facts.get("node_id") in self._draining for each in known)

    def _replace_ill(self) -> list[Order]:
        orders = []
        for record in self._active():
            if record.failed_checks >= UNHEALTHY_AFTER:
                record.state = ReplicaState.STOPPING
                orders.append(Order("kill", record.id))
        return orders

    def _break_gangs(self) -> list[Order]:
        """End what is left of gangs that have lost a replica."""
        active = self._active()
        alive = {record.id for record in active}
        orders = []
        for record in active:
            gang = record.gang
            if gang and gang["breaks"] and not alive.issuperset(gang["member_replica_ids"]):
                record.state = ReplicaState.STOPPING
                orders.append(Order("kill", record.id))
        return orders

    def _reconfigure(self) -> list[Order]:
        orders, wanted = [], self.target.config_hash()
        for record in self._active(current=True):
            if record.state == ReplicaState.RUNNING and record.config_hash != wanted:
                record.state = ReplicaState.UPDATING
                orders.append(Order("reconfigure", record.id))
        return orders

    def _surge(self) -> int:
        if not self._active(current=False):
            return 0
        percent = self.target.max_surge_percent
        if percent is None:
            percent = self.target.rolling_update_percentage
        share = 0.2 if percent is None else percent / 100
        leaving = sum(self._is_leaving(record) for record in self._active())  # they have a deadline
        return self._in_gangs(max(1, math.ceil(self.count * share), leaving))

    def _start(self, now: float) -> list[Order]:
        if now < self._start_after:
            return []
        new = len(self._active(current=True))
        room = self.count + self._surge() - len(self._active())
        missing = max(0, min(self.count - new, room))
        if self.target.gang is None:
            return [self._begin(now) for _ in range(missing)]
        orders = [self._begin(now, None, gang) for gang in self._holes()[:missing]]
        for _ in range((missing - len(orders)) // self._gang_size()):
            orders += self._begin_gang(now)
        return orders

    def _begin(self, now: float, name: str | None = None, gang: dict[str, Any] | None = None) -> Order:
        record = ReplicaRecord(
            id=name or random_name(),
            version=self.target.version,
            config_hash=self.target.config_hash(),
            state=ReplicaState.STARTING,
            started_at=now,
            rank=self._free_rank(),
            gang=gang,
        )
        if gang is not None:
            gang["member_replica_ids"][gang["rank"]] = record.id
        self.replicas[record.id] = record
        return Order("start", record.id)

    def _begin_gang(self, now: float) -> list[Order]:
        assert self.target.gang is not None, "only deployments with gangs come here"
        names = [random_name() for _ in range(self._gang_size())]
        gang_id = random_name()
        facts = {
            "gang_id": gang_id,
            "world_size": len(names),
            "pg_name": f"SERVE_GANG::{self.target.key}#{gang_id}",
            "breaks": self.target.gang["breaks"],
        }
        return [
            self._begin(now, name, {**facts, "rank": rank, "member_replica_ids": list(names)})
            for rank, name in enumerate(names)
        ]

    def _holes(self) -> list[dict[str, Any]]:
        """Places in gangs whose replica has ended alone."""
        holes: dict[tuple[str, int], dict[str, Any]] = {}
        alive = {record.id for record in self._active()}
        for record in self._active(current=True):
            gang = record.gang
            for rank, member in enumerate(gang["member_replica_ids"] if gang else ()):
                if gang and member not in alive:
                    members = list(gang["member_replica_ids"])
                    holes[gang["gang_id"], rank] = {**gang, "rank": rank, "member_replica_ids": members}
        return [hole for (gang_id, rank), hole in holes.items() if not self._is_filled(gang_id, rank)]

    def _is_filled(self, gang_id: str, rank: int) -> bool:
        return any(
            record.gang and (record.gang["gang_id"], record.gang["rank"]) == (gang_id, rank)
            for record in self._active(current=True)
        )

    def _free_rank(self) -> int:
        taken = {record.rank for record in self._active()}
        return next(rank for rank in range(len(taken) + 1) if rank not in taken)

    def _stop_surplus(self, now: float) -> list[Order]:
        old, new = self._active(current=False), self._active(current=True)
        if self.has_failed() and not self.is_deleting:
            return self._stop([r for r in new if r.state == ReplicaState.STARTING])
        running = [r for r in self._active() if r.state in _SERVING]
        without_room = sum(not r.is_alive and now - r.started_at > NO_ROOM_AFTER_S for r in new)
        spare = len(running) - self.count + without_room
        old = self._by_gangs(old)
        idle_old = [r for r in old if r.state not in _SERVING]
        serving_old = [r for r in old if r.state in _SERVING]
        size = self._gang_size()
        stopping = idle_old + serving_old[: max(0, spare - spare % size)]
        surplus = len(new) - self.count
        if surplus > 0:
            stopping += self._by_gangs(new)[: surplus - surplus % size]
        return self._stop(stopping)

    def _by_gangs(self, records: list[ReplicaRecord]) -> list[ReplicaRecord]:
        """Those that are best stopped first, the replicas of a gang together.

        Those that do not serve yet; then those away from the head, on nodes with few replicas, so that a node can be
        given back; then idle ones; of equal ones the youngest.
        """
        ordered = sorted(
            records,
            key=lambda r: (r.state in _SERVING, *self._keeps(r), r.numbers.get("ongoing", 0), -r.started_at),
        )
        first: dict[str, int] = {}
        for place, record in enumerate(ordered):
            first.setdefault(_gang_of(record), place)
        return sorted(ordered, key=lambda record: first[_gang_of(record)])

    def _keeps(self, record: ReplicaRecord) -> tuple[bool, int]:
        """How much its node is kept by others than this replica."""
        node = record.facts.get("node_id", "")
        return node == self._head, self._crowds.get(node, 0)

    def _stop(self, records: list[ReplicaRecord]) -> list[Order]:
        orders = []
        for record in records:
            started = record.state in _SERVING
            record.state = ReplicaState.STOPPING
            orders.append(Order("stop" if started else "kill", record.id))
        return orders

    def _settle(self) -> None:
        """Say that the target is reached, if it is."""
        if self.is_deleting or self.status == DeploymentStatus.HEALTHY:
            return
        new = self._active(current=True)
        wanted = self.target.config_hash()
        reached = (
            len(new) == self.count
            and not self._active(current=False)
            and all(r.state == ReplicaState.RUNNING and r.config_hash == wanted for r in new)
            and all(r.failed_checks < UNHEALTHY_AFTER for r in new)
        )
        if not reached:
            return
        triggers = {
            DeploymentStatus.UPSCALING: DeploymentStatusTrigger.UPSCALE_COMPLETED,
            DeploymentStatus.DOWNSCALING: DeploymentStatusTrigger.DOWNSCALE_COMPLETED,
            DeploymentStatus.UPDATING: DeploymentStatusTrigger.CONFIG_UPDATE_COMPLETED,
        }
        self.message = ""
        self._set(DeploymentStatus.HEALTHY, triggers.get(self.status, self.trigger))

    def _set(self, status: DeploymentStatus, trigger: DeploymentStatusTrigger) -> None:
        self.status = status
        self.trigger = trigger


def _gang_of(record: ReplicaRecord) -> str:
    return record.gang["gang_id"] if record.gang else record.id
