"""Replicas by the places that a `CapacityQueue` has handed out, across processes."""

from __future__ import annotations

import threading
from typing import Any

import narke
from narke.serve._private.common import NAMESPACE
from narke.serve.request_router import (
    LocalityMixin,
    MultiplexMixin,
    PendingRequest,
    ReplicaID,
    RequestRouter,
    RunningReplica,
)

__all__ = ["DEFAULT_MAX_FAULT_RETRIES", "CapacityQueueRouter"]

DEFAULT_MAX_FAULT_RETRIES = 3
_ASK_EVERY_S = 0.05


class CapacityQueueRouter(LocalityMixin, MultiplexMixin, RequestRouter):
    """Prefers the replica whose places are least taken by all processes together.

    What the queue's actor knows is asked in a thread, so that no call waits for it; between two answers this process
    counts its own calls.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._queue: Any = None
        self._taken: dict[str, int] = {}
        self._faults = 0
        self._most_faults = DEFAULT_MAX_FAULT_RETRIES
        self._told: set[str] = set()

    def initialize_state(self, **kwargs: Any) -> None:
        """Find the queue.

        Args:
            kwargs: ``capacity_queue_actor_name`` of a `CapacityQueue` in Serve's namespace (without one there is only
                what this process knows), ``max_fault_retries``.
        """
        name = kwargs.get("capacity_queue_actor_name")
        self._most_faults = int(kwargs.get("max_fault_retries", DEFAULT_MAX_FAULT_RETRIES))
        if name:
            self._queue = narke.get_actor(name, namespace=NAMESPACE)
            threading.Thread(target=self._ask, name="capacity-queue", daemon=True).start()

    def _ask(self) -> None:
        pause = threading.Event()
        while self._faults <= self._most_faults:
            try:
                self._taken = narke.get(self._queue.get_replica_in_flight.remote(), timeout=5)
                self._faults = 0
            except Exception:  # asked again, so often as the option says
                self._faults += 1
            pause.wait(_ASK_EVERY_S)

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """These are the replicas now; the queue is told of their places."""
        super().update_replicas(replicas)
        if self._queue is None:
            return
        now = {replica.replica_id.unique_id: replica.max_ongoing_requests for replica in replicas}
        for name in self._told - now.keys():
            self._queue.unregister_replica.remote(name)
        for name in now.keys() - self._told:
            self._queue.register_replica.remote(name, now[name])
        self._told = set(now)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """One group for each replica, the least taken first."""

        def taken(replica: RunningReplica) -> float:
            known = self._taken.get(replica.replica_id.unique_id, 0)
            return max(known, replica._replica.mine) / max(1, replica.max_ongoing_requests)

        return [[replica] for replica in sorted(candidate_replicas, key=taken)]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any) -> None:
        """Count a place of that replica."""
        name = replica_id.unique_id
        self._taken = {**self._taken, name: self._taken.get(name, 0) + 1}

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Give the place back."""
        name = replica_id.unique_id
        self._taken = {**self._taken, name: max(0, self._taken.get(name, 0) - 1)}

    def on_request_cancelled(self, internal_request_id: str) -> None:
        """Nothing is left to do: the call's end gives its place back."""
