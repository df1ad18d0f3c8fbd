"""Placement groups: sets of resource bundles that are reserved together.

The arguments are checked here, before anything is sent; placing is the controller's work.
"""

from __future__ import annotations

import os
import re
from typing import Any

import narke
from narke._private.strategies import encode_selector, selector_complaint
from narke.util.annotations import DeveloperAPI, PublicAPI
from narke.util.scheduling_strategies import PlacementGroupSchedulingStrategy

__all__ = [
    "NODE_ID_LABEL_KEY",
    "VALID_PLACEMENT_GROUP_STRATEGIES",
    "PlacementGroup",
    "check_placement_group_index",
    "get_current_placement_group",
    "get_placement_group",
    "placement_group",
    "placement_group_table",
    "remove_placement_group",
    "validate_placement_group",
]

VALID_PLACEMENT_GROUP_STRATEGIES = {"PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"}
NODE_ID_LABEL_KEY = "ray.io/node-id"

_DEFAULT_STRATEGY = "PACK"
_ID_BYTES = 18
_JOB_ID_BYTES = 4
_NODE_ID_HEX = re.compile(r"[0-9a-fA-F]{56}")
_BUNDLES_EXAMPLE = 'For example: `[{"CPU": 1.0}, {"GPU": 1.0}]`.'
_SELECTOR_EXAMPLE = 'For example: `[{"ray.io/market-type": "spot"}, {"ray.io/accelerator-type": "A100"}]`.'


@PublicAPI
class PlacementGroup:
    """A handle of a placement group; it can be sent to tasks and actors.

    Args:
        id: the group's id.
        bundle_cache: its bundles, when known.
    """

    def __init__(self, id: Any, bundle_cache: list[dict[str, float]] | None = None) -> None:
        self.id = id
        self.bundle_cache = bundle_cache

    @staticmethod
    def empty() -> PlacementGroup:
        """The handle that stands for no group."""
        return PlacementGroup(_group_id(b"\xff" * _ID_BYTES), [])

    @property
    def is_empty(self) -> bool:
        """True for the handle that stands for no group."""
        return self.id.binary() == b"\xff" * _ID_BYTES

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """The resources of each bundle."""
        if self.bundle_cache is None:
            bundles = _table_entry(self.id)["bundles"]
            self.bundle_cache = [bundles[index] for index in sorted(bundles)]
        return self.bundle_cache

    @property
    def bundle_count(self) -> int:
        """The number of bundles."""
        return len(self.bundle_specs)

    def ready(self) -> Any:
        """Return a reference that resolves to this handle once the group is placed.

        ``narke.get(group.ready(), timeout=...)`` waits for it; it fails when the group is removed first.
        """
        strategy = PlacementGroupSchedulingStrategy(placement_group=self)
        return narke.remote(_return_group).options(num_cpus=0, scheduling_strategy=strategy).remote(self)

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Wait until the group is placed.

        Returns:
            False when it was not placed within `timeout_seconds`.

        Raises:
            ValueError: the group was removed.
        """
        state = _wait(self.id.binary(), int(timeout_seconds * 1000))
        if state == "REMOVED":
            raise ValueError(f"{self.id} does not exist: the placement group was removed")
        return state == "CREATED"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"PlacementGroup({self.id.hex()})"


def _return_group(group: PlacementGroup) -> PlacementGroup:
    return group


@PublicAPI
def placement_group(
    bundles: list[dict[str, float]],
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: dict[str, str] | None = None,
) -> PlacementGroup:
    """Ask for a placement group; it is placed in the background.

    Args:
        bundles: resources of each bundle.
        strategy: ``PACK`` (default), ``SPREAD``, ``STRICT_PACK`` or ``STRICT_SPREAD``.
        name: name to find it by within the namespace.
        lifetime: None to end with the creator, ``"detached"`` to stay until removed.
        _soft_target_node_id: node to prefer, with ``STRICT_PACK``.
        bundle_label_selector: labels that each bundle's node must have.
        topology_strategy: packing by label of a topology level instead of `strategy`.

    Raises:
        ValueError: for malformed arguments.
    """
    validate_placement_group(
        bundles, strategy, lifetime, _soft_target_node_id, bundle_label_selector, topology_strategy
    )
    if topology_strategy:
        strategy = _strategy_of(topology_strategy)
    bundles = [{resource: float(amount) for resource, amount in bundle.items()} for bundle in bundles]
    pg_id = os.urandom(_ID_BYTES - _JOB_ID_BYTES) + bytes.fromhex(_runtime_context().get_job_id())
    labels = [encode_selector(selector) for selector in bundle_label_selector or [{}] * len(bundles)]
    target = bytes.fromhex(_soft_target_node_id or "")
    _create(
        pg_id=pg_id,
        bundles=bundles,
        strategy=strategy or _DEFAULT_STRATEGY,
        name=name or "",
        lifetime=lifetime or "",
        target_labels=labels,
        soft_target_node=target,
    )
    return PlacementGroup(_group_id(pg_id), bundles)


@PublicAPI
def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Give a group's resources back; tasks and actors running in it are ended.

    Returns at once; what this program asks of the cluster afterwards finds the group removed.

    Raises:
        TypeError: the argument is no placement group.
    """
    _check_handle(placement_group)
    _remove(placement_group.id.binary())


@PublicAPI
def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """Find a placement group of this namespace by name.

    Raises:
        ValueError: the name is empty, or no group has it.
    """
    if not placement_group_name:
        raise ValueError("Please supply a non-empty value to get_placement_group")
    namespace = _runtime_context().namespace
    for group in _groups(b""):
        here = group.get("namespace", namespace) == namespace
        if here and group["name"] == placement_group_name and group["state"] != "REMOVED":
            return PlacementGroup(_group_id(_id_bytes(group)))
    raise ValueError(
        f"Failed to look up placement group with name: {placement_group_name} (namespace {namespace}); "
        "it was never created, was removed, or lives in another namespace"
    )


@DeveloperAPI
def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """Describe one placement group, or all: id in hexadecimal to description.

    A description has ``placement_group_id``, ``name``, ``bundles``, ``bundles_to_node_id``, ``strategy``,
    ``state`` and ``stats``.
    """
    if placement_group is not None:
        _check_handle(placement_group)
        return _table_entry(placement_group.id)
    entries = map(_described, _groups(b""))
    return {entry["placement_group_id"]: entry for entry in entries}


@PublicAPI
def get_current_placement_group() -> PlacementGroup | None:
    """Return the placement group this task or actor runs in, None outside of any."""
    pg_id = _runtime_context().get_placement_group_id()
    if pg_id is None:
        return None
    group = PlacementGroup(_group_id(bytes.fromhex(pg_id)))
    return None if group.is_empty else group


def check_placement_group_index(placement_group: PlacementGroup, bundle_index: int) -> None:
    """Check that `bundle_index` names a bundle of the group, or is -1.

    Raises:
        ValueError: it does not.
    """
    if placement_group.is_empty:
        if bundle_index != -1:
            raise ValueError("If placement group is not set, the value of bundle index must be -1.")
    elif not -1 <= bundle_index < placement_group.bundle_count:
        raise ValueError(
            f"placement group bundle index {bundle_index} is invalid. "
            f"Valid placement group indexes: 0-{placement_group.bundle_count - 1}, or -1 for any bundle"
        )


@DeveloperAPI
def validate_placement_group(
    bundles: list[dict[str, float]],
    strategy: str | None = None,
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: dict[str, str] | None = None,
) -> None:
    """Check the arguments of `placement_group`.

    Raises:
        ValueError: says which argument is malformed and how it should look.
    """
    _validate_bundles(bundles)
    if topology_strategy is not None:
        _validate_topology(topology_strategy, strategy)
        strategy = _strategy_of(topology_strategy)
    strategy = strategy or _DEFAULT_STRATEGY
    if strategy not in VALID_PLACEMENT_GROUP_STRATEGIES:
        raise ValueError(_unknown_strategy(strategy))
    if lifetime not in (None, "detached"):
        raise ValueError(
            f"Placement group `lifetime` argument must be either `None` or 'detached'. Got {lifetime}."
        )
    if bundle_label_selector is not None:
        _validate_selectors(bundle_label_selector, len(bundles))
    if _soft_target_node_id:
        _validate_soft_target(_soft_target_node_id, strategy)


def _unknown_strategy(strategy: Any) -> str:
    known = ", ".join(sorted(VALID_PLACEMENT_GROUP_STRATEGIES))
    return f"Invalid placement group strategy {strategy}. Supported strategies are: {known}."


def _validate_bundles(bundles: Any) -> None:
    if not isinstance(bundles, list):
        raise ValueError(f"Placement group bundles must be a list, got {type(bundles)}.")
    malformed = f"Bundles must be a non-empty list of resource dictionaries. {_BUNDLES_EXAMPLE}"
    if not bundles:
        raise ValueError(f"{malformed} Got empty list instead.")
    for bundle in bundles:
        if not isinstance(bundle, dict) or not all(isinstance(resource, str) for resource in bundle):
            raise ValueError(f"{malformed} Got {bundle!r}.")
        for resource, amount in bundle.items():
            if not isinstance(amount, (int, float)):
                raise ValueError(f"{malformed} {resource} is {amount!r}, not a number.")
            if not 0 <= amount < float("inf"):
                raise ValueError(f"Bundles cannot ask for {amount} of {resource}. Bundles: {bundles}")
        if not any(bundle.values()):
            raise ValueError(
                f"Bundles cannot be an empty dictionary or resources with only 0 values. Bundles: {bundles}"
            )


def _validate_topology(topology_strategy: Any, strategy: str | None) -> None:
    if not isinstance(topology_strategy, dict):
        raise ValueError(f"`topology_strategy` must be a dict, got {type(topology_strategy).__name__}.")
    if strategy is not None:
        raise ValueError(
            "`strategy` and `topology_strategy` cannot both be specified. Pass node-level packing via "
            f"`topology_strategy['{NODE_ID_LABEL_KEY}']`."
        )
    for label, level in topology_strategy.items():
        if level not in VALID_PLACEMENT_GROUP_STRATEGIES:
            raise ValueError(f"`topology_strategy[{label!r}]`: {_unknown_strategy(level)}")
        if label != NODE_ID_LABEL_KEY:
            raise ValueError(
                f"`topology_strategy` level {label!r} is not available: groups are placed by node "
                f"({NODE_ID_LABEL_KEY!r}) only. Use `bundle_label_selector` to pin bundles to a {label}."
            )


def _strategy_of(topology_strategy: dict[str, str]) -> str:
    return topology_strategy.get(NODE_ID_LABEL_KEY, _DEFAULT_STRATEGY)


def _validate_selectors(selectors: Any, bundle_count: int) -> None:
    if not isinstance(selectors, list):
        raise ValueError(f"Placement group bundle_label_selector must be a list, got {type(selectors)}.")
    if len(selectors) != bundle_count:
        raise ValueError(
            f"Invalid bundle label selector {selectors}. The length of `bundle_label_selector` should equal "
            f"the length of `bundles` ({bundle_count})."
        )
    for selector in selectors:
        pairs = selector.items() if isinstance(selector, dict) else [(None, None)]
        if not all(isinstance(text, str) for pair in pairs for text in pair):
            raise ValueError(
                "Bundle label selector must be a list of string dictionary label selectors. "
                f"{_SELECTOR_EXAMPLE}"
            )
        complaint = selector_complaint(selector)
        if complaint:
            raise ValueError(f"Invalid label selector provided in bundle_label_selector list: {complaint}")


def _validate_soft_target(node_id: Any, strategy: str) -> None:
    if strategy != "STRICT_PACK":
        raise ValueError(f"_soft_target_node_id currently only works with STRICT_PACK but got {strategy}")
    if not isinstance(node_id, str) or not _NODE_ID_HEX.fullmatch(node_id):
        raise ValueError(f"Invalid hex ID of _soft_target_node_id, got {node_id}")


def _check_handle(group: Any) -> None:
    if not isinstance(group, PlacementGroup):
        raise TypeError(f"expected a PlacementGroup, got {type(group).__name__}")


def _table_entry(group_id: Any) -> dict[str, Any]:
    groups = _groups(group_id.binary())
    return _described(groups[0]) if groups else {}


def _described(group: dict[str, Any]) -> dict[str, Any]:
    """A group as the control plane sends it, in the shape of `placement_group_table`."""
    bundles, nodes = group["bundles"], group.get("bundles_to_node_id") or {}
    return {
        "placement_group_id": _id_bytes(group).hex(),
        "name": group["name"],
        "bundles": _indexed(bundles),
        "bundles_to_node_id": {index: _hex(_indexed(nodes).get(index, "")) for index in _indexed(bundles)},
        "strategy": group["strategy"],
        "state": group["state"],
        "stats": group.get("stats") or {},
    }


def _indexed(values: Any) -> dict[int, Any]:
    """A list, or a map with textual indexes, as a map by index."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values)
    return {int(index): value for index, value in pairs}


def _hex(value: Any) -> str:
    return value.hex() if isinstance(value, (bytes, bytearray)) else value


def _id_bytes(group: dict[str, Any]) -> bytes:
    return bytes.fromhex(_hex(group["placement_group_id"]))


def _group_id(binary: bytes) -> Any:
    return narke.PlacementGroupID(binary)


def _runtime_context() -> Any:
    if not narke.is_initialized():
        narke.init()
    return narke.get_runtime_context()


def _ask(method: str, **fields: Any) -> dict[str, Any]:
    from narke._private import control

    return control.call(method, **fields)


def _create(**fields: Any) -> None:
    _ask("create_placement_group", **fields)


def _remove(pg_id: bytes) -> None:
    from narke._private import control

    control.tell("remove_placement_group", pg_id=pg_id)


def _wait(pg_id: bytes, timeout_ms: int) -> str:
    return _ask("wait_placement_group", timeout_ms=timeout_ms, pg_id=pg_id)["state"]


def _groups(pg_id: bytes) -> list[dict[str, Any]]:
    return _ask("placement_group_table", pg_id=pg_id)["groups"]
