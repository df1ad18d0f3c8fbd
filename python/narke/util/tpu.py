"""Arithmetic over TPU topologies, and what a node's environment and labels say of its TPU slice.

Reserving whole slices as one unit is not available; those entries say what to do instead.
"""

from __future__ import annotations

import glob
import importlib
import math
import os
from typing import Any, NoReturn

import narke
from narke.util.annotations import DeveloperAPI, PublicAPI

__all__ = [
    "SlicePlacementGroup",
    "SubslicePlacementGroup",
    "dispatch",
    "get_current_pod_name",
    "get_current_pod_worker_count",
    "get_num_ready_tpu_slices",
    "get_num_tpu_chips_on_node",
    "get_num_tpu_slices",
    "get_tpu_coordinator_env_vars",
    "get_tpu_nodes_for_slice",
    "get_tpu_num_slices_for_workers",
    "get_tpu_slice_name_from_node",
    "get_tpu_version_from_type",
    "get_tpu_worker_resources",
    "init_jax_profiler",
    "run_on_slice",
    "slice_placement_group",
    "subslice_placement_group",
]

_VERSIONS = ("v2", "v3", "v4", "v5p", "v5litepod", "v6e", "v7x")
_SINGLE_HOST_VERSIONS = ("v5litepod", "v6e")
_SINGLE_HOST_TOPOLOGIES = ("1x1", "2x2", "2x4")
_CHIPS_PER_HOST = 4
_SLICE_LABEL = "ray.io/tpu-slice-name"
_TOPOLOGY_LABEL = "ray.io/tpu-topology"
_ACCELERATOR_LABEL = "ray.io/accelerator-type"
_PROFILER_PORT_VARIABLE = "JAX_PROFILER_PORT"
_DEFAULT_PROFILER_PORT = 9999


def _refuse(entry: str) -> NoReturn:
    raise NotImplementedError(
        f"{entry} is not available: TPU slices are not reserved as one unit. Label the slice's nodes "
        f"({_SLICE_LABEL}) and use narke.util.placement_group([{{'TPU': 4}}] * hosts, "
        f"bundle_label_selector=[{{'{_SLICE_LABEL}': name}}] * hosts, strategy='STRICT_SPREAD')."
    )


@PublicAPI(stability="alpha")
def get_tpu_version_from_type(accelerator_type: str) -> str:
    """Return the generation, such as ``v6e``, of an accelerator type such as ``TPU-V6E``.

    Raises:
        ValueError: the type is no TPU's.
    """
    version = accelerator_type.lower().removeprefix("tpu-")
    if version not in _VERSIONS:
        raise ValueError(
            f"Invalid accelerator_type: {accelerator_type}. Must be one of {list(_VERSIONS)}, with or "
            "without 'TPU-'."
        )
    return version


def _chips(topology: str) -> int:
    """Chips of a topology such as ``2x2x4``."""
    try:
        return math.prod(int(side) for side in topology.lower().split("x"))
    except ValueError as error:
        raise ValueError(f"a TPU topology is written like '4x4' or '2x2x4', got {topology!r}") from error


def _chips_per_host(topology: str, version: str) -> int:
    on_one_host = version in _SINGLE_HOST_VERSIONS and topology.lower() in _SINGLE_HOST_TOPOLOGIES
    return _chips(topology) if on_one_host else _CHIPS_PER_HOST


@PublicAPI(stability="alpha")
def get_tpu_worker_resources(
    topology: str,
    accelerator_type: str,
    resources_per_worker: dict[str, float] | None = None,
    num_slices: int = 1,
    chips_per_vm: int | None = None,
    tpu_resource_per_chip: int | None = None,
) -> tuple[int, dict[str, float]]:
    """Return how many workers cover whole slices, and the resources of each.

    Args:
        topology: sides of a slice, such as ``4x4``.
        accelerator_type: such as ``TPU-V6E``.
        resources_per_worker: resources of each worker; without ``TPU`` it takes a host's chips.
        num_slices: slices to cover.
        chips_per_vm: chips of a host, where they differ from the type's usual number.
        tpu_resource_per_chip: units of the resource ``TPU`` per chip (1).

    Raises:
        ValueError: the slices' chips do not divide into such workers.
    """
    units_per_chip = tpu_resource_per_chip or 1
    per_host = chips_per_vm or _chips_per_host(topology, get_tpu_version_from_type(accelerator_type))
    resources: dict[str, float] = {"CPU": 1, **(resources_per_worker or {})}
    resources.setdefault("TPU", per_host * units_per_chip)
    total = _chips(topology) * num_slices * units_per_chip
    if resources["TPU"] <= 0 or total % resources["TPU"]:
        raise ValueError(
            f"Total TPU resources ({total}) not divisible by TPUs requested per worker ({resources['TPU']})."
        )
    return int(total // resources["TPU"]), resources


@PublicAPI(stability="alpha")
def get_tpu_num_slices_for_workers(
    topology: str,
    accelerator_type: str,
    num_workers: int,
    resources_per_worker: dict[str, float] | None = None,
    tpu_resource_per_chip: int | None = None,
) -> int:
    """Return how many slices `num_workers` workers need, 1 when the arguments do not fit together."""
    try:
        per_slice, _ = get_tpu_worker_resources(
            topology, accelerator_type, resources_per_worker, tpu_resource_per_chip=tpu_resource_per_chip
        )
    except ValueError:
        return 1
    return max(1, math.ceil(num_workers / per_slice))


@PublicAPI(stability="alpha")
def get_tpu_coordinator_env_vars(
    coordinator_address: str, num_slices: int, slice_id: int, coordinator_port: str = "8081"
) -> dict[str, str]:
    """Return the environment variables with which programs on several slices find each other."""
    return {
        "MEGASCALE_COORDINATOR_ADDRESS": coordinator_address,
        "MEGASCALE_PORT": coordinator_port,
        "MEGASCALE_NUM_SLICES": str(num_slices),
        "MEGASCALE_SLICE_ID": str(slice_id),
    }


@PublicAPI(stability="alpha")
def get_tpu_slice_name_from_node(node: dict[str, Any]) -> str | None:
    """Return the slice that a node, as `narke.nodes` describes it, belongs to; None when to none."""
    return node.get("Labels", {}).get(_SLICE_LABEL)


@PublicAPI(stability="alpha")
def get_tpu_nodes_for_slice(
    slice_name: str, nodes: list[dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """Return the living nodes of a slice.

    Args:
        slice_name: the slice.
        nodes: where to look; None for `narke.nodes`.
    """
    known = narke.nodes() if nodes is None else nodes
    return [node for node in known if node.get("Alive") and get_tpu_slice_name_from_node(node) == slice_name]


def _slices(
    topology: str, accelerator_type: str, units_per_chip: int | None
) -> dict[str, list[dict[str, Any]]]:
    """Nodes of each complete slice of a kind."""
    version = get_tpu_version_from_type(accelerator_type)
    found: dict[str, list[dict[str, Any]]] = {}
    for node in narke.nodes():
        labels = node.get("Labels", {})
        kind = labels.get(_ACCELERATOR_LABEL, "").lower().removeprefix("tpu-")
        if node.get("Alive") and labels.get(_TOPOLOGY_LABEL) == topology and kind == version:
            found.setdefault(labels.get(_SLICE_LABEL, node["NodeID"]), []).append(node)
    wanted = _chips(topology) * (units_per_chip or 1)
    return {
        name: nodes
        for name, nodes in found.items()
        if sum(n["Resources"].get("TPU", 0) for n in nodes) == wanted
    }


@DeveloperAPI
def get_num_tpu_slices(topology: str, accelerator_type: str, tpu_resource_per_chip: int | None = None) -> int:
    """Return how many slices of a kind are complete: every host is alive with all its chips."""
    return len(_slices(topology, accelerator_type, tpu_resource_per_chip))


@PublicAPI(stability="alpha")
def get_num_ready_tpu_slices(
    topology: str, accelerator_type: str, tpu_resource_per_chip: int | None = None
) -> int:
    """Return how many slices of a kind are complete and idle."""
    from narke._private.state import available_resources_per_node

    available = available_resources_per_node()
    slices = _slices(topology, accelerator_type, tpu_resource_per_chip)
    return sum(
        all(available.get(n["NodeID"], {}).get("TPU", 0) == n["Resources"]["TPU"] for n in nodes)
        for nodes in slices.values()
    )


@PublicAPI(stability="alpha")
def get_num_tpu_chips_on_node() -> int:
    """Return the TPU chips of this host, 0 when it has none."""
    return len(glob.glob("/dev/accel*")) or len(glob.glob("/dev/vfio/[0-9]*"))


@PublicAPI(stability="alpha")
def get_current_pod_name() -> str | None:
    """Return the TPU pod this process runs in, None outside of one."""
    return os.environ.get("TPU_NAME") or None


@PublicAPI(stability="alpha")
def get_current_pod_worker_count() -> int | None:
    """Return the number of hosts of this process's TPU pod, None outside of one."""
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES")
    return len(hosts.split(",")) if hosts else None


@PublicAPI(stability="alpha")
def init_jax_profiler(port: int | None = None) -> None:
    """Start JAX's profiler server in this process.

    Args:
        port: where it listens; None for ``JAX_PROFILER_PORT`` (9999).

    Raises:
        ImportError: JAX is not installed.
    """
    try:
        profiler = importlib.import_module("jax").profiler
    except ImportError as error:
        raise ImportError("init_jax_profiler needs JAX: install it with `pip install jax`") from error
    profiler.start_server(port or int(os.environ.get(_PROFILER_PORT_VARIABLE, _DEFAULT_PROFILER_PORT)))


class _Reservation:
    """What slice and subslice reservations would offer; creating one refuses."""

    _what = "a TPU slice reservation"

    def shutdown(self) -> NoReturn:
        """Raise NotImplementedError."""
        _refuse(self._what)


def _refusing_property(name: str) -> property:
    def read(self: _Reservation) -> NoReturn:
        _refuse(f"{self._what}.{name}")

    read.__doc__ = "Raise NotImplementedError."
    return property(read)


@PublicAPI(stability="alpha")
class SlicePlacementGroup(_Reservation):
    """Refuses: TPU slices are not reserved as one unit."""

    _what = "SlicePlacementGroup"

    def __init__(
        self,
        topology: str,
        accelerator_version: str,
        resources_per_bundle: dict[str, float] | None = None,
        strategy: str = "SPREAD",
        name: str = "",
        lifetime: str | None = None,
        num_slices: int = 1,
        chips_per_vm: int | None = None,
        head_reservation_timeout_s: float | None = 100.0,
        bundle_label_selector: list[dict[str, str]] | None = None,
        pg_per_slice: bool = False,
        tpu_resource_per_chip: int | None = None,
    ) -> None:
        _refuse(self._what)

    def release_head_pgs(self, slice_index: int | None = None) -> NoReturn:
        """Raise NotImplementedError."""
        _refuse("SlicePlacementGroup.release_head_pgs")

    accelerator_version = _refusing_property("accelerator_version")
    bundle_label_selector = _refusing_property("bundle_label_selector")
    bundle_resources = _refusing_property("bundle_resources")
    chips_per_host = _refusing_property("chips_per_host")
    devices_per_host = _refusing_property("devices_per_host")
    head_placement_groups = _refusing_property("head_placement_groups")
    num_bundles = _refusing_property("num_bundles")
    num_hosts = _refusing_property("num_hosts")
    num_slices = _refusing_property("num_slices")
    placement_group = _refusing_property("placement_group")
    slice_placement_group = _refusing_property("slice_placement_group")
    slice_placement_groups = _refusing_property("slice_placement_groups")
    topology = _refusing_property("topology")
    tpu_resource_per_chip = _refusing_property("tpu_resource_per_chip")


@PublicAPI(stability="alpha")
class SubslicePlacementGroup(_Reservation):
    """Refuses: TPU slices are not reserved as one unit."""

    _what = "SubslicePlacementGroup"

    def __init__(
        self,
        placement_group: Any,
        parent_topology: str,
        subslice_topology: str,
        subslice_index: int,
        slice_name: str,
        num_hosts: int,
        chips_per_host: int,
        bundle_resources: dict[str, float],
        head_placement_groups: list[Any] | None = None,
        bundle_label_selectors: list[dict[str, str]] | None = None,
    ) -> None:
        _refuse(self._what)

    def release_head_pgs(self) -> NoReturn:
        """Raise NotImplementedError."""
        _refuse("SubslicePlacementGroup.release_head_pgs")

    bundle_label_selector = _refusing_property("bundle_label_selector")
    bundle_resources = _refusing_property("bundle_resources")
    chips_per_host = _refusing_property("chips_per_host")
    head_placement_groups = _refusing_property("head_placement_groups")
    num_hosts = _refusing_property("num_hosts")
    parent_topology = _refusing_property("parent_topology")
    placement_group = _refusing_property("placement_group")
    slice_name = _refusing_property("slice_name")
    subslice_index = _refusing_property("subslice_index")
    subslice_topology = _refusing_property("subslice_topology")


@PublicAPI(stability="alpha")
def slice_placement_group(
    topology: str,
    accelerator_version: str,
    resources_per_bundle: dict[str, float] | None = None,
    num_slices: int = 1,
    chips_per_vm: int | None = None,
    pg_per_slice: bool = False,
    tpu_resource_per_chip: int | None = None,
    **kwargs: Any,
) -> NoReturn:
    """Raise NotImplementedError with what to do instead."""
    _refuse("slice_placement_group")


@PublicAPI(stability="alpha")
def subslice_placement_group(
    subslice_topology: str,
    accelerator_version: str,
    chips_per_vm: int | None = None,
    resources_per_bundle: dict[str, float] | None = None,
    strategy: str = "STRICT_SPREAD",
    name: str = "",
    lifetime: str | None = None,
    head_reservation_timeout_s: float | None = 100.0,
    subslice_index: int | None = None,
) -> NoReturn:
    """Raise NotImplementedError with what to do instead."""
    _refuse("subslice_placement_group")


@PublicAPI(stability="alpha")
def run_on_slice(
    fn: Any,
    *args: Any,
    topology: str | None = None,
    accelerator_version: str | None = None,
    tpu_slice: Any = None,
    slice_index: int | None = None,
    num_slices: int = 1,
    chips_per_vm: int | None = None,
    head_reservation_timeout_s: float | None = 100.0,
    pg_ready_timeout_s: float | None = None,
    **kwargs: Any,
) -> NoReturn:
    """Raise NotImplementedError with what to do instead."""
    _refuse("run_on_slice")


@PublicAPI(stability="alpha")
def dispatch(*args: Any, **kwargs: Any) -> NoReturn:
    """Raise NotImplementedError; an earlier name of `run_on_slice`."""
    _refuse("dispatch")
