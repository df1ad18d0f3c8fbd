"""How many workers fit, and which ranks they get; pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Place", "fitting", "ordered", "places"]

_TINY = 1e-6


@dataclass(frozen=True)
class Place:
    """Where a rank stands among the others on its node, and its node among the nodes."""

    local_rank: int
    local_world_size: int
    node_rank: int


def fitting(
    nodes: list[dict[str, float]], bundle: dict[str, float], most: int, strategy: str = "PACK"
) -> int:
    """How many workers the nodes have room for, up to a number.

    Args:
        nodes: free resources of each.
        bundle: what a worker holds.
        most: number that is enough.
        strategy: STRICT_PACK counts on the best node only, STRICT_SPREAD one worker a node.
    """
    rooms = [_room(node, bundle, most) for node in nodes]
    if strategy == "STRICT_PACK":
        return min(max(rooms, default=0), most)
    if strategy == "STRICT_SPREAD":
        return min(sum(1 for room in rooms if room), most)
    return min(sum(rooms), most)


def _room(node: dict[str, float], bundle: dict[str, float], most: int) -> int:
    counts = [int((node.get(name, 0) + _TINY) / amount) for name, amount in bundle.items() if amount > 0]
    return max(0, min([most, *counts]))


def ordered(nodes: list[str]) -> list[int]:
    """Workers by rank: those of one node next to each other, nodes as they first appear.

    Args:
        nodes: the node of each worker, by the number it was started with.

    Returns:
        the workers' numbers.
    """
    first = {node: at for at, node in reversed(list(enumerate(nodes)))}
    return sorted(range(len(nodes)), key=lambda at: (first[nodes[at]], at))


def places(nodes: list[str]) -> list[Place]:
    """The place of each rank.

    Args:
        nodes: the node of each rank.
    """
    order = list(dict.fromkeys(nodes))
    seen: dict[str, int] = {}
    found = []
    for node in nodes:
        local = seen.get(node, 0)
        seen[node] = local + 1
        found.append(Place(local, nodes.count(node), order.index(node)))
    return found
