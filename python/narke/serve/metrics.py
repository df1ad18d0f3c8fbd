"""Metrics of code in replicas: those of `narke.util.metrics`, labelled with deployment, "
"replica, application and route."""

from __future__ import annotations

from typing import Any

from narke.serve import context as _context
from narke.util import metrics as _metrics

__all__ = ["APPLICATION_TAG", "DEPLOYMENT_TAG", "REPLICA_TAG", "ROUTE_TAG", "Counter", "Gauge", "Histogram"]

DEPLOYMENT_TAG = "deployment"
REPLICA_TAG = "replica"
APPLICATION_TAG = "application"
ROUTE_TAG = "route"
_OWN = (DEPLOYMENT_TAG, REPLICA_TAG, APPLICATION_TAG, ROUTE_TAG)


def _keys(tag_keys: tuple[str, ...] | None) -> tuple[str, ...]:
    given = tuple(tag_keys or ())
    for name in _OWN:
        if name in given:
            raise ValueError(f"'{name}' tag is reserved for Ray Serve metrics")
    return given + _OWN if _context.replica_context() is not None else given


def _tags(tags: dict[str, str] | None) -> dict[str, str] | None:
    here = _context.replica_context()
    if here is None:
        return tags
    route = _context.request_context.get().route
    own = {DEPLOYMENT_TAG: here.deployment, REPLICA_TAG: here.replica_tag, APPLICATION_TAG: here.app_name}
    return {**own, ROUTE_TAG: route, **(tags or {})}


class Counter(_metrics.Counter):
    """A number that grows."""

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None) -> None:
        super().__init__(name, description, _keys(tag_keys))

    def inc(self, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
        """Let it grow by `value`."""
        super().inc(value, _tags(tags))

    def set_default_tags(self, default_tags: dict[str, str]) -> Any:
        """Tags of all values that name no others."""
        return super().set_default_tags(default_tags)


class Gauge(_metrics.Gauge):
    """A number that goes up and down."""

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None) -> None:
        super().__init__(name, description, _keys(tag_keys))

    def set(self, value: float | None, tags: dict[str, str] | None = None) -> None:
        """Set it."""
        super().set(value, _tags(tags))

    def set_default_tags(self, default_tags: dict[str, str]) -> Any:
        """Tags of all values that name no others."""
        return super().set_default_tags(default_tags)


class Histogram(_metrics.Histogram):
    """How values are spread."""

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: list[float] | None = None,
        tag_keys: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(name, description, boundaries, _keys(tag_keys))

    def observe(self, value: float, tags: dict[str, str] | None = None) -> None:
        """Count a value."""
        super().observe(value, _tags(tags))

    def set_default_tags(self, default_tags: dict[str, str]) -> Any:
        """Tags of all values that name no others."""
        return super().set_default_tags(default_tags)
