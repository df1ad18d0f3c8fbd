"""Nodes as resources."""

from __future__ import annotations

from typing import Any

import narke

__all__ = ["force_on_current_node", "force_on_node"]


def force_on_node(node_id: str, remote_func_or_actor_class: Any) -> Any:
    """A remote function or actor class that runs on one node.

    Args:
        node_id: of the node.
        remote_func_or_actor_class: to run there.
    """
    from narke.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    where = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return remote_func_or_actor_class.options(scheduling_strategy=where)


def force_on_current_node(remote_func_or_actor_class: Any) -> Any:
    """A remote function or actor class that runs on this node.

    Args:
        remote_func_or_actor_class: to run here.
    """
    return force_on_node(narke.get_runtime_context().get_node_id(), remote_func_or_actor_class)
