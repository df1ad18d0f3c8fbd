"""The same replica for the same session, as far as it is there."""

from __future__ import annotations

import bisect
import hashlib
from typing import Any

from narke.serve.request_router import PendingRequest, RequestRouter, RunningReplica

__all__ = [
    "CONSISTENT_HASH_SEED",
    "DEFAULT_NUM_FALLBACK_REPLICAS",
    "DEFAULT_NUM_VIRTUAL_NODES",
    "ConsistentHashRouter",
]

CONSISTENT_HASH_SEED = 4189375095
DEFAULT_NUM_VIRTUAL_NODES = 100
DEFAULT_NUM_FALLBACK_REPLICAS = 2


def _point(text: str) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=8, key=str(CONSISTENT_HASH_SEED).encode()).digest()
    return int.from_bytes(digest, "big")


class ConsistentHashRouter(RequestRouter):
    """Calls with one session id go to one replica; when replicas come and go, few sessions move."""

    def initialize_state(self, **kwargs: Any) -> None:
        """Args: num_virtual_nodes, num_fallback_replicas."""
        self._points_each = int(kwargs.get("num_virtual_nodes", DEFAULT_NUM_VIRTUAL_NODES))
        self._fallbacks = int(kwargs.get("num_fallback_replicas", DEFAULT_NUM_FALLBACK_REPLICAS))
        self._ring: list[tuple[int, RunningReplica]] = []
        self._build()

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """These are the replicas now."""
        super().update_replicas(replicas)
        if hasattr(self, "_points_each"):
            self._build()

    def _build(self) -> None:
        self._ring = sorted(
            (
                (_point(f"{replica.replica_id.unique_id} {i}"), replica)
                for replica in self.curr_replicas.values()
                for i in range(self._points_each)
            ),
            key=lambda entry: entry[0],
        )

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The session's replica, then its successors on the ring; any, without a session."""
        session = pending_request.metadata.session_id if pending_request is not None else ""
        if not session or not self._ring:
            return [candidate_replicas]
        at = bisect.bisect(self._ring, _point(session), key=lambda entry: entry[0])
        found: list[RunningReplica] = []
        for i in range(len(self._ring)):
            replica = self._ring[(at + i) % len(self._ring)][1]
            if replica not in found and replica in candidate_replicas:
                found.append(replica)
            if len(found) > self._fallbacks:
                break
        return [[replica] for replica in found]
