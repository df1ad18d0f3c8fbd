"""What a manager of resources does."""

from __future__ import annotations

import abc

from narke import ObjectRef
from narke.air.execution.resources.request import AcquiredResources, ResourceRequest

__all__ = ["ResourceManager"]


class ResourceManager(abc.ABC):
    """Gives out resources: request them, wait until they are ready, acquire them, free them."""

    @abc.abstractmethod
    def request_resources(self, resource_request: ResourceRequest) -> None:
        """Ask for resources, to be acquired when they are ready."""

    @abc.abstractmethod
    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        """Take one such request back."""

    @abc.abstractmethod
    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        """Whether `acquire_resources` would give something now."""

    @abc.abstractmethod
    def acquire_resources(self, resource_request: ResourceRequest) -> AcquiredResources | None:
        """The resources of one request, or None if they are not ready."""

    @abc.abstractmethod
    def free_resources(self, acquired_resource: AcquiredResources) -> None:
        """Give acquired resources back."""

    @abc.abstractmethod
    def clear(self) -> None:
        """Take all requests back and free everything."""

    def get_resource_futures(self) -> list[ObjectRef]:
        """References that become ready when `update_state` would change something."""
        return []

    def update_state(self) -> None:
        """Look which requests have become ready."""
        return None
