"""A manager that holds resources by placement groups."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import narke
from narke import ObjectRef
from narke.air.execution.resources.request import AcquiredResources, ResourceRequest, as_options
from narke.air.execution.resources.resource_manager import ResourceManager
from narke.util.placement_group import PlacementGroup, remove_placement_group
from narke.util.scheduling_strategies import PlacementGroupSchedulingStrategy

__all__ = ["PlacementGroupAcquiredResources", "PlacementGroupResourceManager"]


@dataclass
class PlacementGroupAcquiredResources(AcquiredResources):
    """The bundles of a placement group.

    Args:
        placement_group: which holds them.
    """

    placement_group: PlacementGroup

    def _annotate(self, entity: Any, bundle: dict[str, float], index: int) -> Any:
        if self.resource_request.head_bundle_is_empty:
            index -= 1
        where = PlacementGroupSchedulingStrategy(
            placement_group=self.placement_group,
            placement_group_bundle_index=index,
            placement_group_capture_child_tasks=True,
        )
        return entity.options(scheduling_strategy=where, **as_options(bundle))


class PlacementGroupResourceManager(ResourceManager):
    """Makes a placement group for each request.

    Args:
        update_interval_s: kept for callers; readiness is looked up whenever it is asked for.
    """

    def __init__(self, update_interval_s: float = 0.1) -> None:
        self.update_interval_s = update_interval_s
        self._waiting: dict[ObjectRef, tuple[ResourceRequest, PlacementGroup]] = {}
        self._ready: dict[ResourceRequest, list[PlacementGroup]] = {}
        self._acquired: Counter[PlacementGroup] = Counter()

    def request_resources(self, resource_request: ResourceRequest) -> None:
        group = resource_request.to_placement_group()
        self._waiting[group.ready()] = (resource_request, group)

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        for ref, (request, group) in list(self._waiting.items()):
            if request == resource_request:
                del self._waiting[ref]
                remove_placement_group(group)
                return
        remove_placement_group(self._ready[resource_request].pop())

    def update_state(self) -> None:
        if not self._waiting:
            return
        done, _ = narke.wait(list(self._waiting), num_returns=len(self._waiting), timeout=0)
        for ref in done:
            request, group = self._waiting.pop(ref)
            self._ready.setdefault(request, []).append(group)

    def get_resource_futures(self) -> list[ObjectRef]:
        return list(self._waiting)

    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        if not self._ready.get(resource_request):
            self.update_state()
        return bool(self._ready.get(resource_request))

    def acquire_resources(self, resource_request: ResourceRequest) -> AcquiredResources | None:
        if not self.has_resources_ready(resource_request):
            return None
        group = self._ready[resource_request].pop()
        self._acquired[group] += 1
        return PlacementGroupAcquiredResources(resource_request, group)

    def free_resources(self, acquired_resource: AcquiredResources) -> None:
        if not isinstance(acquired_resource, PlacementGroupAcquiredResources):
            raise TypeError(f"{acquired_resource!r} was not given out by this manager")
        del self._acquired[acquired_resource.placement_group]
        remove_placement_group(acquired_resource.placement_group)

    def clear(self) -> None:
        waiting = [group for _, group in self._waiting.values()]
        for group in [
            *waiting,
            *(each for groups in self._ready.values() for each in groups),
            *self._acquired,
        ]:
            remove_placement_group(group)
        self._waiting.clear()
        self._ready.clear()
        self._acquired.clear()
