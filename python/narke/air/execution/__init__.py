"""Requesting resources for work that a loop starts by and by."""

from narke.air.execution.resources import (
    AcquiredResources,
    FixedResourceManager,
    PlacementGroupResourceManager,
    ResourceManager,
    ResourceRequest,
)

__all__ = [
    "AcquiredResources",
    "FixedResourceManager",
    "PlacementGroupResourceManager",
    "ResourceManager",
    "ResourceRequest",
]
