"""Requests for resources, and the managers that fulfil them."""

from narke.air.execution.resources.fixed import FixedResourceManager
from narke.air.execution.resources.placement_group import PlacementGroupResourceManager
from narke.air.execution.resources.request import AcquiredResources, ResourceRequest
from narke.air.execution.resources.resource_manager import ResourceManager

__all__ = [
    "AcquiredResources",
    "FixedResourceManager",
    "PlacementGroupResourceManager",
    "ResourceManager",
    "ResourceRequest",
]
