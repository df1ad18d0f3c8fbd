"""Routers of one's own: which replicas a call of a handle may go to.

A class named in `RequestRouterConfig` is asked for each call of a handle: ``choose_replicas`` gives groups of replicas,
the best first; within the first group that has room the less loaded replica is taken. It must not wait. HTTP requests
are routed by the native proxy, which runs no Python.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Callable
from typing import Any

from narke.serve._private.common import ReplicaID
from narke.serve._private.router import RoutedReplica

__all__ = [
    "FIFOMixin",
    "LocalityMixin",
    "MultiplexMixin",
    "PendingRequest",
    "ReplicaID",
    "RequestRouter",
    "RunningReplica",
]


class RunningReplica:
    """A replica as routers see it."""

    def __init__(self, replica_info: Any) -> None:
        self._replica: RoutedReplica = replica_info[0]
        self._replica_id: ReplicaID = replica_info[1]

    @property
    def replica_id(self) -> ReplicaID:
        """Its name."""
        return self._replica_id

    @property
    def actor_id(self) -> Any:
        """Of its actor."""
        from narke.ids import ActorID

        return ActorID(self._replica.actor_id)

    @property
    def node_id(self) -> str:
        """Where it runs, in hex."""
        return self._replica.node

    @property
    def availability_zone(self) -> str | None:
        """Zone of its node; not known here."""
        return None

    @property
    def multiplexed_model_ids(self) -> set[str]:
        """Models it holds."""
        return set(self._replica.models)

    @property
    def max_ongoing_requests(self) -> int:
        """Requests it runs at once."""
        return self._replica.most

    @property
    def routing_stats(self) -> dict[str, Any]:
        """What its ``record_routing_stats`` gave last."""
        return self._replica.stats

    @property
    def is_cross_language(self) -> bool:
        """Whether it runs another language than Python; never so."""
        return False

    async def get_queue_len(self, *, deadline_s: float) -> int:
        """Requests that this process has there."""
        return self._replica.mine

    @property
    def replica_metadata(self) -> dict[str, Any]:
        """What a table says of it, and what its ``record_replica_metadata`` gave when it started, as plain data."""
        replica = self._replica
        return {
            "id": replica.id,
            "node": replica.node,
            "models": list(replica.models),
            "stats": replica.stats,
            **replica.facts,
        }

    def reserve_slot(self, request_metadata: Any) -> Any:
        """Keep a place for a call; None when there is none."""
        if self._replica.mine >= self._replica.most:
            return None
        self._replica.mine += 1
        return self._replica

    def release_slot(self, slot_token: Any) -> None:
        """Give the place back."""
        slot_token.mine -= 1

    @property
    def backend_http_endpoint(self) -> tuple[str, int] | None:
        """(host, port) of the replica's own HTTP server; None, as requests come to it over the engine."""
        return None

    def update_replica_info(self, replica_info: Any) -> None:
        """Take over what a new table says."""
        self._replica, self._replica_id = replica_info


@dataclasses.dataclass
class PendingRequest:
    """A call that is to be routed.

    Attributes:
        args, kwargs: its arguments.
        metadata: has request_id, multiplexed_model_id, session_id and call_method.
        created_at: seconds of `time.time`.
        future: set when it is routed.
        routing_context: for the router's own notes.
        resolved: whether responses among the arguments are there.
    """

    args: list[Any]
    kwargs: dict[Any, Any]
    metadata: Any
    created_at: float = dataclasses.field(default_factory=time.time)
    future: asyncio.Future[Any] | None = dataclasses.field(default_factory=lambda: None)
    routing_context: Any = dataclasses.field(default_factory=dict)
    resolved: bool = False

    def reset_future(self) -> None:
        """Have it routed again."""
        self.future = None


class RequestRouter:
    """Base of routers; as it is, any replica may be taken."""

    max_num_routing_tasks_cap = 50
    queue_len_response_deadline_s = 0.1
    max_queue_len_response_deadline_s = 1.0

    def __init__(
        self,
        deployment_id: Any,
        handle_source: Any,
        self_actor_id: str | None = None,
        self_actor_handle: Any = None,
        use_replica_queue_len_cache: bool = False,
        get_curr_time_s: Callable[[], float] | None = None,
        create_replica_wrapper_func: Callable[..., RunningReplica] | None = None,
        initial_backoff_s: float = 0.025,
        backoff_multiplier: float = 2,
        max_backoff_s: float = 0.5,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self._deployment_id = deployment_id
        self._handle_source = handle_source
        self._replicas: dict[ReplicaID, RunningReplica] = {}
        self._make = create_replica_wrapper_func or RunningReplica
        self._now = get_curr_time_s or time.time
        self.update_backoff_params(initial_backoff_s, backoff_multiplier, max_backoff_s)

    def initialize_state(self, **kwargs: Any) -> None:
        """Called once with the config's request_router_kwargs; for subclasses."""

    @property
    def app_name(self) -> str:
        """The application's name."""
        return str(self._deployment_id.app_name)

    @property
    def replica_queue_len_cache(self) -> dict[ReplicaID, int]:
        """Requests that this process has at each replica."""
        return {name: replica._replica.mine for name, replica in self._replicas.items()}

    def decrement_queue_len_cache(self, replica_id: ReplicaID) -> None:
        """A call there has ended, whatever came of it."""
        if (replica := self._replicas.get(replica_id)) is not None and replica._replica.mine > 0:
            replica._replica.mine -= 1

    @property
    def max_num_routing_tasks(self) -> int:
        """Calls that are looked at at once, at most: two for each replica, up to `max_num_routing_tasks_cap`."""
        return min(self.max_num_routing_tasks_cap, 2 * len(self._replicas))

    @property
    def target_num_routing_tasks(self) -> int:
        """Calls that wait, up to `max_num_routing_tasks`."""
        return min(self.num_pending_requests, self.max_num_routing_tasks)

    @property
    def curr_num_routing_tasks(self) -> int:
        """The same: calls that wait have no tasks of their own, each is looked at when a place gets free."""
        return self.target_num_routing_tasks

    def on_new_queue_len_info(self, replica_id: ReplicaID, num_ongoing_requests: int) -> None:
        """A replica has told how many requests it has; for subclasses."""

    @property
    def num_pending_requests(self) -> int:
        """Calls of this process that wait for a replica."""
        from narke.serve._private.router import router_of

        return router_of(self._deployment_id).queued()

    @property
    def curr_replicas(self) -> dict[ReplicaID, RunningReplica]:
        """The replicas there are."""
        return self._replicas

    def update_backoff_params(
        self, initial_backoff_s: float, backoff_multiplier: float, max_backoff_s: float
    ) -> None:
        """How long calls wait between two attempts; here they wait for a place instead."""
        self.initial_backoff_s = initial_backoff_s
        self.backoff_multiplier = backoff_multiplier
        self.max_backoff_s = max_backoff_s

    def create_replica_wrapper(self, replica_info: Any) -> RunningReplica:
        """The wrapper of a replica."""
        return self._make(replica_info)

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """These are the replicas now."""
        self._replicas = {replica.replica_id: replica for replica in replicas}

    def select_available_replicas(
        self, candidates: list[RunningReplica] | None = None
    ) -> list[RunningReplica]:
        """Those that have room, of the candidates or of all."""
        chosen = list(self._replicas.values()) if candidates is None else candidates
        return [replica for replica in chosen if replica._replica.mine < replica.max_ongoing_requests]

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Groups of replicas for a call, the best first. Must not wait."""
        return [candidate_replicas]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any) -> None:
        """A call was sent there; for subclasses."""

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """A call there has ended; for subclasses."""

    def on_send_request(self, replica_id: ReplicaID) -> None:
        """A call is about to be sent there; for subclasses."""

    @property
    def supports_rejection_protocol(self) -> bool:
        """Whether replicas refuse calls of handles; they queue them instead."""
        return False

    def on_replica_actor_unavailable(self, replica_id: ReplicaID) -> None:
        """A replica does not answer; for subclasses."""

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        """A replica is gone."""
        self._replicas.pop(replica_id, None)


class LocalityMixin:
    """Prefers replicas on this process's node."""

    def __init__(
        self,
        self_node_id: str | None = None,
        prefer_local_node_routing: bool = False,
        prefer_local_az_routing: bool = False,
        self_availability_zone: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._node_id = self_node_id
        self._prefers_node = prefer_local_node_routing

    def apply_locality_routing(self, pending_request: PendingRequest | None = None) -> set[ReplicaID]:
        """Ids of the nearest replicas."""
        ranked = self.rank_replicas_via_locality(list(self.curr_replicas.values()))  # type: ignore[attr-defined]
        return {replica.replica_id for replica in next((group for group in ranked if group), [])}

    def rank_replicas_via_locality(self, replicas: list[RunningReplica]) -> list[list[RunningReplica]]:
        """Replicas of this node, then the others."""
        near = [r for r in replicas if self._prefers_node and r.node_id == self._node_id]
        return [near, [r for r in replicas if r not in near]]


class MultiplexMixin:
    """Prefers replicas that hold the model asked for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def apply_multiplex_routing(self, pending_request: PendingRequest | None = None) -> set[ReplicaID]:
        """Ids of the best replicas for a call."""
        model = pending_request.metadata.multiplexed_model_id if pending_request is not None else ""
        ranked = self.rank_replicas_via_multiplex(list(self.curr_replicas.values()), model)  # type: ignore[attr-defined]
        return {replica.replica_id for replica in next((group for group in ranked if group), [])}

    def rank_replicas_via_multiplex(
        self, replicas: list[RunningReplica], multiplexed_model_id: str
    ) -> list[list[RunningReplica]]:
        """Those that hold the model, then the others, those with fewer models first."""
        having = [
            r for r in replicas if multiplexed_model_id and multiplexed_model_id in r.multiplexed_model_ids
        ]
        others: dict[int, list[RunningReplica]] = {}
        for replica in replicas:
            if replica not in having:
                others.setdefault(len(replica.multiplexed_model_ids), []).append(replica)
        return [having, *(others[count] for count in sorted(others))]


class FIFOMixin:
    """Calls are routed in the order they came; always so."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class RouterMetadata:
    """What a `PendingRequest` says of its call."""

    def __init__(self, meta: tuple[Any, ...]) -> None:
        self.request_id, self.call_method, self.is_streaming, self.app_name, self.route = meta[:5]
        self.multiplexed_model_id, self.session_id = meta[5:7]
        self.internal_request_id = self.request_id


def choose(router: RequestRouter, pending: Any, free: list[RunningReplica]) -> RunningReplica | None:
    """The replica that a router takes for a call; None: none of those it allows has room.

    Raises:
        RuntimeError: its choose_replicas waits.
    """
    request = PendingRequest(list(pending.args), dict(pending.kwargs), RouterMetadata(pending.meta))
    steps = router.choose_replicas(list(router.curr_replicas.values()), request)
    try:
        steps.send(None)
    except StopIteration as end:
        groups = end.value
    else:
        steps.close()
        raise RuntimeError(f"{type(router).__name__}.choose_replicas must not wait for anything")
    for group in groups:
        able = [replica for replica in group if replica in free]
        if able:
            chosen = min(random.sample(able, min(2, len(able))), key=lambda replica: replica._replica.mine)
            router.on_request_routed(request, chosen.replica_id, None)
            return chosen
    return None
