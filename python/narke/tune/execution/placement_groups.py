"""`PlacementGroupFactory`: what resources a trial needs."""

from __future__ import annotations

from typing import Any

from narke.air.execution.resources.request import ResourceRequest
from narke.util.placement_group import PlacementGroup

__all__ = [
    "TUNE_PLACEMENT_GROUP_REMOVAL_DELAY",
    "PlacementGroupFactory",
    "lacking",
    "resource_dict_to_pg_factory",
]

TUNE_PLACEMENT_GROUP_REMOVAL_DELAY = 2.0


class PlacementGroupFactory(ResourceRequest):
    """The bundles of resources that a trial holds.

    The first bundle is for the trainable itself (empty: it holds nothing); the others for the tasks and actors that
    it starts, which find themselves in the same placement group.

    Args:
        bundles: resources by name, for instance ``[{"CPU": 1}, {"CPU": 2}]``.
        strategy: PACK, SPREAD, STRICT_PACK or STRICT_SPREAD.
        args, kwargs: further arguments of `narke.util.placement_group`.

    Raises:
        ValueError: no bundle holds anything.
    """

    def __init__(
        self, bundles: list[dict[str, int | float]], strategy: Any = "PACK", *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(bundles, strategy, *args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> PlacementGroup:
        """Make a placement group of these bundles."""
        return self.to_placement_group()

    def __repr__(self) -> str:
        return f"<PlacementGroupFactory (bundles={self.bundles!r}, strategy={self.strategy!r}, " + (
            f"head_bundle_is_empty={self.head_bundle_is_empty})>"
        )


def resource_dict_to_pg_factory(spec: dict[str, Any] | None = None) -> PlacementGroupFactory:
    """The request of one bundle that a dict such as ``{"cpu": 2, "gpu": 0.5, "custom_resources": {...}}`` asks for.

    Args:
        spec: resources by name in any case; one CPU if there is none. ``extra_cpu`` and the like (for what the
            trainable starts itself) add to the bundle.

    Raises:
        ValueError: an amount is negative or not a number.
    """
    from narke.tune.resources import Resources

    if isinstance(spec, Resources):
        spec = {key: value for key, value in spec._asdict().items() if key != "has_placement_group"}
    bundle: dict[str, float] = {}
    wanted: dict[str, Any] = spec if spec is not None else {"cpu": 1}
    for name, amount in wanted.items():
        if name in ("custom_resources", "extra_custom_resources"):
            for custom, more in (amount or {}).items():
                _add(bundle, custom, more)
        else:
            _add(bundle, _resource_name(name), amount)
    return PlacementGroupFactory([bundle])


def _resource_name(name: str) -> str:
    plain = name.removeprefix("extra_")
    return {"cpu": "CPU", "gpu": "GPU"}.get(plain.lower(), plain)


def _add(bundle: dict[str, float], name: str, amount: Any) -> None:
    if amount is None:
        return
    if isinstance(amount, bool) or not isinstance(amount, (int, float)) or amount < 0:
        raise ValueError(f"a trial's resource {name!r} is {amount!r}; it must be a number of at least 0")
    bundle[name] = bundle.get(name, 0) + amount


def lacking(request: ResourceRequest, nodes: list[dict[str, float]]) -> str:
    """What nodes lack for a request, if nothing else ran on them, in words; "" if they can have it. Pure.

    Args:
        request: bundles and their strategy.
        nodes: all resources of each.
    """
    bundles = [bundle for bundle in request.bundles if bundle]
    total = request.required_resources
    for name, amount in total.items():
        have = sum(node.get(name, 0) for node in nodes)
        if amount > have:
            return f"it has {have:g} {name} in all, and {amount:g} are needed"
    whole = [total] if request.strategy == "STRICT_PACK" else bundles
    for bundle in whole:
        if not any(_holds(node, bundle) for node in nodes):
            return f"no node has {bundle}"
    if request.strategy == "STRICT_SPREAD" and len(bundles) > len(nodes):
        return f"{len(bundles)} bundles want a node each, and there are {len(nodes)}"
    return ""


def _holds(node: dict[str, float], bundle: dict[str, float]) -> bool:
    return all(node.get(name, 0) >= amount for name, amount in bundle.items())
