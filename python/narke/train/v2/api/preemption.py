"""Notice that nodes are about to be taken away."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PreemptionInfo"]


@dataclass(frozen=True)
class PreemptionInfo:
    """Nodes that are about to go.

    Args:
        deadline_ms: when, in milliseconds since 1970; None if unknown.
        preempted_node_to_ranks: ranks on each of these nodes, by node id.
    """

    deadline_ms: int | None
    preempted_node_to_ranks: dict[str, list[int]]

    @property
    def preempted_node_ids(self) -> list[str]:
        """The nodes."""
        return list(self.preempted_node_to_ranks)

    @property
    def preempted_ranks(self) -> list[int]:
        """The ranks on them."""
        return sorted(rank for ranks in self.preempted_node_to_ranks.values() for rank in ranks)
