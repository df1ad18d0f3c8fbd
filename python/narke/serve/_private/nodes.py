"""The cluster's nodes, as the controller last saw them."""

from __future__ import annotations

import narke

__all__ = ["Nodes"]

_LOOK_EVERY_S = 0.5


class Nodes:
    """Looks now and then.

    Attributes:
        here: the controller's own node.
        alive: all that live, this one first.
        draining: those of them that are to go.
    """

    def __init__(self) -> None:
        self.here: str = narke.get_runtime_context().get_node_id()
        self.alive: list[str] = [self.here]
        self.draining: frozenset[str] = frozenset()
        self._looked = float("-inf")

    def look(self, now: float) -> None:
        """Look again, if the last look was some time ago."""
        if now - self._looked < _LOOK_EVERY_S:
            return
        self._looked = now
        found = [node for node in narke.nodes() if node["Alive"]]
        others = [node["NodeID"] for node in found if node["NodeID"] != self.here]
        self.alive = [self.here, *others]
        self.draining = frozenset(node["NodeID"] for node in found if node.get("DrainReason"))
