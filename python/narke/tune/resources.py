"""Resources of a trial as one tuple, as older programs give them; `PlacementGroupFactory` is what Tune uses."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

__all__ = ["Resources", "json_to_resources", "resources_to_json"]


class Resources(NamedTuple):
    """What a trial holds, and (``extra_``) what the things that it starts hold.

    Args:
        cpu, gpu: of the trainable.
        memory, object_store_memory: in bytes.
        extra_cpu, extra_gpu, extra_memory, extra_object_store_memory: beyond the trainable.
        custom_resources, extra_custom_resources: by name.
        has_placement_group: whether these are the resources of a placement group.
    """

    cpu: float
    gpu: float
    memory: float = 0
    object_store_memory: float = 0.0
    extra_cpu: float = 0.0
    extra_gpu: float = 0.0
    extra_memory: float = 0.0
    extra_object_store_memory: float = 0.0
    custom_resources: dict[str, float] | None = None
    extra_custom_resources: dict[str, float] | None = None
    has_placement_group: bool = False


def json_to_resources(data: Any) -> Any:
    """The `PlacementGroupFactory` of a dict of resources, or of its JSON.

    Raises:
        ValueError: an unknown key.
    """
    from narke.tune.execution.placement_groups import resource_dict_to_pg_factory

    if data is None or data == "null":
        return None
    if isinstance(data, str):
        data = json.loads(data)
    known = set(Resources._fields) - {"has_placement_group"}
    unknown = sorted(set(data) - known)
    if unknown:
        raise ValueError(
            f"unknown resources {unknown}; known are {sorted(known)}; others go into custom_resources"
        )
    return resource_dict_to_pg_factory(data)


def resources_to_json(*args: Any, **kwargs: Any) -> dict[str, Any] | None:
    """The dict of a `Resources`."""
    resources = args[0] if args else kwargs.get("resources")
    if resources is None:
        return None
    return {
        key: value
        for key, value in resources._asdict().items()
        if key != "has_placement_group" and value not in (None, 0)
    }
