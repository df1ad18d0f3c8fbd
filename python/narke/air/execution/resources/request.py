"""What resources are asked for, and what was given."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any

from narke.actor import ActorClass
from narke.remote_function import RemoteFunction
from narke.util.placement_group import PlacementGroup, placement_group

__all__ = ["AcquiredResources", "RemoteRayEntity", "ResourceRequest"]

# What can be bound to resources: a remote function or an actor class.
RemoteRayEntity = RemoteFunction | ActorClass


class ResourceRequest:
    """Bundles of resources that are to be had together.

    The first bundle is the head's, where the work itself runs; the others are for what it starts.

    Args:
        bundles: resources by name; an empty first bundle means that the work itself holds nothing.
        strategy: of a placement group.
        args, kwargs: further arguments of `narke.util.placement_group`.

    Raises:
        ValueError: no bundle holds anything.
    """

    def __init__(
        self, bundles: list[dict[str, int | float]], strategy: str = "PACK", *args: Any, **kwargs: Any
    ) -> None:
        if not bundles:
            raise ValueError("a resource request needs at least one bundle")
        cleaned = [{name: float(amount) for name, amount in each.items() if amount} for each in bundles]
        self._head_bundle_is_empty = not cleaned[0]
        self._bundles = [dict(each) for each in (cleaned[1:] if self._head_bundle_is_empty else cleaned)]
        if not self._bundles and not self._head_bundle_is_empty:
            raise ValueError("a resource request needs a bundle that holds something")
        self._strategy = strategy
        self._more = (args, kwargs)

    @property
    def head_bundle_is_empty(self) -> bool:
        """Whether the work itself holds nothing."""
        return self._head_bundle_is_empty

    @property
    def head_cpus(self) -> float:
        """CPUs of the head bundle."""
        return 0.0 if self._head_bundle_is_empty else self._bundles[0].get("CPU", 0.0)

    @property
    def bundles(self) -> list[dict[str, float]]:
        """The bundles that hold something; {} for the head if its own is empty and nothing else is asked for."""
        return [dict(each) for each in self._bundles] if self._bundles else [{}]

    @property
    def required_resources(self) -> dict[str, float]:
        """All bundles together."""
        total: dict[str, float] = {}
        for bundle in self._bundles:
            for name, amount in bundle.items():
                total[name] = total.get(name, 0) + amount
        return total

    @property
    def strategy(self) -> str:
        """The strategy of the placement group."""
        return self._strategy

    def to_placement_group(self) -> PlacementGroup:
        """A new placement group with these bundles."""
        args, kwargs = self._more
        return placement_group(self.bundles, self._strategy, *args, **kwargs)

    def _key(self) -> tuple:
        bundles = tuple(tuple(sorted(each.items())) for each in self._bundles)
        return bundles, self._strategy, self._head_bundle_is_empty, repr(self._more)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResourceRequest) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"ResourceRequest(bundles={self.bundles!r}, strategy={self._strategy!r})"


@dataclass
class AcquiredResources(abc.ABC):
    """Resources that a manager has given out.

    Args:
        resource_request: what they were asked for with.
    """

    resource_request: ResourceRequest

    def annotate_remote_entities(self, entities: list[Any]) -> list[Any]:
        """The given remote functions and actor classes, bound to these resources.

        Args:
            entities: the first is bound to the head bundle, the others to the next ones.

        Raises:
            RuntimeError: there are more of them than bundles.
        """
        bundles = self.resource_request.bundles
        if self.resource_request.head_bundle_is_empty and bundles != [{}]:
            bundles = [{}, *bundles]
        if len(entities) > len(bundles):
            raise RuntimeError(f"{len(entities)} remote entities do not fit {len(bundles)} bundles")
        return [self._annotate(each, bundles[at], at) for at, each in enumerate(entities)]

    @abc.abstractmethod
    def _annotate(self, entity: Any, bundle: dict[str, float], index: int) -> Any:
        """The entity bound to one bundle."""


def as_options(bundle: dict[str, float]) -> dict[str, Any]:
    """A bundle as options of a task or actor."""
    options: dict[str, Any] = {"num_cpus": bundle.get("CPU", 0), "num_gpus": bundle.get("GPU", 0)}
    if "memory" in bundle:
        options["memory"] = bundle["memory"]
    rest = {name: amount for name, amount in bundle.items() if name not in ("CPU", "GPU", "memory")}
    return {**options, "resources": rest} if rest else options
