"""A manager that counts within a fixed budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import narke
from narke.air.execution.resources.request import AcquiredResources, ResourceRequest, as_options
from narke.air.execution.resources.resource_manager import ResourceManager

__all__ = ["FixedAcquiredResources", "FixedResourceManager"]


@dataclass
class FixedAcquiredResources(AcquiredResources):
    """A share of the budget.

    Args:
        bundles: what it holds.
    """

    bundles: list[dict[str, float]]

    def _annotate(self, entity: Any, bundle: dict[str, float], index: int) -> Any:
        return entity.options(**as_options(bundle))


class FixedResourceManager(ResourceManager):
    """Gives out what fits a budget; the cluster itself is not asked.

    Args:
        total_resources: the budget; the cluster's resources at this moment if None.
    """

    def __init__(self, total_resources: dict[str, float] | None = None) -> None:
        self._total = dict(total_resources if total_resources is not None else narke.cluster_resources())
        self._requested: list[ResourceRequest] = []
        self._used: list[AcquiredResources] = []

    def request_resources(self, resource_request: ResourceRequest) -> None:
        if resource_request.strategy.startswith("STRICT_"):
            raise RuntimeError(f"a fixed budget cannot place by the strategy {resource_request.strategy!r}")
        self._requested.append(resource_request)

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        self._requested.remove(resource_request)

    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        if resource_request not in self._requested:
            return False
        free = self._free()
        return all(
            amount <= free.get(name, 0) + 1e-9 for name, amount in resource_request.required_resources.items()
        )

    def acquire_resources(self, resource_request: ResourceRequest) -> AcquiredResources | None:
        if not self.has_resources_ready(resource_request):
            return None
        self._requested.remove(resource_request)
        given = FixedAcquiredResources(resource_request, resource_request.bundles)
        self._used.append(given)
        return given

    def free_resources(self, acquired_resource: AcquiredResources) -> None:
        self._used = [each for each in self._used if each is not acquired_resource]

    def clear(self) -> None:
        self._requested.clear()
        self._used.clear()

    def _free(self) -> dict[str, float]:
        free = dict(self._total)
        for each in self._used:
            for name, amount in each.resource_request.required_resources.items():
                free[name] = free.get(name, 0) - amount
        return free
