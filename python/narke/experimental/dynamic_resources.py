"""Changing a running node's resources, which is not available."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["set_resource"]


def set_resource(resource_name: str, capacity: float, node_id: str | None = None) -> NoReturn:
    """Raise NotImplementedError: a node's resources are fixed when it starts.

    Args:
        resource_name: the resource.
        capacity: how much of it the node should have.
        node_id: the node.
    """
    raise NotImplementedError(
        f"set_resource({resource_name!r}, {capacity}): a node's resources are fixed when it starts. Give "
        "them to "
        "`narke start --resources` or narke.init(resources=...), or steer placement by node labels and "
        "NodeLabelSchedulingStrategy."
    )
