"""Replicas in turn."""

from __future__ import annotations

from typing import Any

from narke.serve.request_router import (
    FIFOMixin,
    MultiplexMixin,
    PendingRequest,
    RequestRouter,
    RunningReplica,
)

__all__ = ["RoundRobinRouter"]


class RoundRobinRouter(FIFOMixin, MultiplexMixin, RequestRouter):
    """Each call goes to the next replica that has room."""

    def initialize_state(self, **kwargs: Any) -> None:
        """Begin with the first."""
        self._next = 0

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Each replica alone, from the next one on."""
        if not candidate_replicas:
            return []
        ordered = sorted(candidate_replicas, key=lambda replica: replica.replica_id.unique_id)
        start = self._next % len(ordered)
        self._next = start + 1
        return [[replica] for replica in ordered[start:] + ordered[:start]]
