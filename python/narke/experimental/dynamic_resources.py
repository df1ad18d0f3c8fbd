"""Changing the custom resources of a running node."""

from __future__ import annotations

import narke
from narke._private import session

__all__ = ["set_resource"]


def set_resource(resource_name: str, capacity: float, node_id: str | None = None) -> None:
    """Set how much of a custom resource this program's node has.

    Args:
        resource_name: the resource; not CPU or a device, which are fixed when a node starts.
        capacity: how much; 0 takes it away.
        node_id: the node; None for the program's own.

    Raises:
        ValueError: the resource is fixed, the amount negative, or the node another one.
    """
    native = session.native()
    here = narke.get_runtime_context().get_node_id()
    if node_id is not None and node_id != here:
        raise ValueError(
            f"set_resource changes the node it is called on, {here}; to change {node_id}, call it in a task "
            "there "
            "(NodeAffinitySchedulingStrategy)"
        )
    native.control("set_resource", {"name": resource_name, "amount": float(capacity)})
