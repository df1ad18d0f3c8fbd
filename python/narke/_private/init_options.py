"""Checks and completes the parameters of `init` before anything is started."""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

from narke._private import machine
from narke._private.options import quantity_complaint

__all__ = ["HIDDEN_OPTIONS", "MIN_STORE_BYTES", "NodeShape", "cap_of", "check_init", "node_shape"]

MIN_STORE_BYTES = 75 << 20
_ORDERS_ONLY = ("num_cpus", "num_gpus", "resources", "labels", "object_store_memory")
_RESERVED = ("CPU", "GPU", "memory", "object_store_memory")
# Options that Ray takes through **kwargs. Those without a meaning here are accepted and change nothing.
HIDDEN_OPTIONS = (
    "_driver_object_store_memory",
    "_enable_object_reconstruction",
    "_memory",
    "_metrics_export_port",
    "_node_ip_address",
    "_node_name",
    "_plasma_directory",
    "_redis_password",
    "_redis_username",
    "_skip_env_hook",
    "_system_config",
    "_temp_dir",
    "_token",
    "_tracing_startup_hook",
    "allow_multiple",
    "object_spilling_directory",
    "storage",
)


class NodeShape(NamedTuple):
    """What a node offers: resources by name, the object store's size in bytes, labels."""

    resources: dict[str, float]
    object_store_bytes: int
    labels: dict[str, str]


def check_init(options: dict[str, Any]) -> None:
    """Check every parameter of `init`.

    Raises:
        RuntimeError: a keyword is unknown.
        TypeError: a value's type is wrong.
        ValueError: a value is out of bounds.
    """
    unknown = sorted(set(options["kwargs"]) - set(HIDDEN_OPTIONS))
    if unknown:
        raise RuntimeError(f"Unknown keyword argument(s): {', '.join(unknown)}")
    _check_address(options["address"])
    for name, whole in (("num_cpus", True), ("num_gpus", False)):
        _check_amount(name, options[name], whole)
    _check_resources(options["resources"])
    _check_labels(options["labels"])
    _check_store(options["object_store_memory"])
    _check_amount("_memory", options["kwargs"].get("_memory"), False)
    spill_options(options["kwargs"], "checked")
    _check_flags(options)
    from narke._private.naming import check_namespace

    check_namespace(options["namespace"])


def _check_address(address: Any) -> None:
    if address is not None and not isinstance(address, str):
        raise TypeError(f"address must be None or a string, got {address!r} of {type(address)}")


def _check_amount(name: str, amount: Any, whole: bool) -> None:
    if amount is None:
        return
    shown = {"num_cpus": "num_cpus (CPU)", "num_gpus": "num_gpus (GPU)"}.get(name, name)
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise TypeError(f"{shown} must be a number, got {amount!r} of {type(amount)}")
    complaint = quantity_complaint(shown, amount)
    if complaint:
        raise ValueError(complaint)
    if whole and amount != int(amount):
        raise ValueError(f"{shown} must be a whole number, got {amount!r}")


def _check_resources(resources: Any) -> None:
    if resources is None:
        return
    if not isinstance(resources, dict):
        raise TypeError(
            f"resources must be a dict of names to amounts, got {resources!r} of {type(resources)}"
        )
    for name, amount in resources.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"The names in resources must be non-empty strings, got {name!r}")
        if name in _RESERVED:
            flag = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "_memory"}.get(name, name)
            raise ValueError(f"{name} cannot be a custom resource: use {flag} instead")
        _check_amount(name, amount, False)


def cap_of(metadata: dict[str, str]) -> dict[str, float]:
    """What a job's tasks and actors may hold together, as ``narke.cap`` of its metadata says; {} without a cap.

    Args:
        metadata: the job's; ``{"narke.cap": '{"CPU": 4}'}`` caps its CPUs, in the whole cluster and outside of
            placement groups.

    Raises:
        ValueError: it is not a JSON object of names to amounts above 0.
    """
    text = metadata.get("narke.cap")
    if text is None:
        return {}
    try:
        cap = json.loads(text)
    except json.JSONDecodeError:
        cap = None
    amounts = cap.values() if isinstance(cap, dict) else [None]
    if any(isinstance(each, bool) or not isinstance(each, int | float) or each <= 0 for each in amounts):
        raise ValueError(
            f"The job's metadata narke.cap must be a JSON object of resources to amounts above 0, got {text!r}"
        )
    return {name: float(amount) for name, amount in cap.items()}


def _check_labels(labels: Any) -> None:
    if labels is None:
        return
    if not isinstance(labels, dict):
        raise TypeError(f"labels must be a dict of strings to strings, got {labels!r} of {type(labels)}")
    for key, value in labels.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ValueError(f"labels must map strings to strings, got {key!r}: {value!r}")
        if key.startswith("ray.io/"):
            raise ValueError(f"label {key!r}: keys that begin with 'ray.io/' are set by the cluster itself")


def _check_store(size: Any) -> None:
    if size is None:
        return
    if isinstance(size, bool) or not isinstance(size, (int, float)):
        raise TypeError(f"object_store_memory must be a number of bytes, got {size!r} of {type(size)}")
    complaint = quantity_complaint("object_store_memory", size)
    if complaint:
        raise ValueError(complaint)
    if size < MIN_STORE_BYTES:
        raise ValueError(
            f"object_store_memory is {int(size)} bytes, but the minimum allowed is {MIN_STORE_BYTES} bytes"
        )


def spill_options(hidden: dict[str, Any], session_dir: str) -> dict[str, Any]:
    """Where a node's objects go when memory is short, as keywords of ``NodeOptions``; {} for the session's folder.

    It is said by ``object_spilling_directory``, a folder or a URI, by the JSON of ``object_spilling_config`` in
    ``_system_config``, or by the variables ``RAY_object_spilling_directory`` and ``RAY_object_spilling_config``; the
    first of these counts. The JSON: ``{"type": "filesystem", "params": {"directory_path": "/folder"}}`` is a folder of
    each node's own (of several the first counts); ``{"type": "smart_open", "params": {"uri": "s3://bucket/folder"}}``
    is storage that all nodes reach, with the params of `spill_storage.describe`.

    Args:
        hidden: options of `init`, or of a node, by name.
        session_dir: the node's session.

    Raises:
        ValueError: it is no folder that can be written to, or no storage that is known here.
    """
    from narke._private import sessions_dir, spill_storage

    kind, params = _spill_config(hidden)
    if kind == "smart_open":
        return {"spill_storage": spill_storage.describe(params, os.path.basename(session_dir))}
    parent = params.get("directory_path")
    if parent is not None and not isinstance(parent, str) and parent:
        parent = parent[0] if isinstance(parent, list) else parent
    check_spill_parent(parent)
    return {"spill_dir": sessions_dir.spill_dir(session_dir, parent)} if parent else {}


def _spill_config(hidden: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The type of storage and its params."""
    from narke._private.spill_storage import is_uri

    system = hidden.get("_system_config") or {}
    folder = (
        hidden.get("object_spilling_directory")
        or system.get("object_spilling_directory")
        or os.environ.get("RAY_object_spilling_directory")
    )
    if folder:
        return (
            ("smart_open", {"uri": folder}) if is_uri(folder) else ("filesystem", {"directory_path": folder})
        )
    config = system.get("object_spilling_config") or os.environ.get("RAY_object_spilling_config")
    if not config:
        return "filesystem", {}
    try:
        given = json.loads(config) if isinstance(config, str) else dict(config)
        kind, params = given["type"], dict(given["params"])
        if kind == "filesystem":
            params["directory_path"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            "object_spilling_config must be JSON with type and params (of a filesystem: params.directory_path), "
            f"got {config!r}: {error!r}"
        ) from error
    if kind not in ("filesystem", "smart_open"):
        raise ValueError(f"object_spilling_config: type must be 'filesystem' or 'smart_open', got {kind!r}")
    return kind, params


def check_spill_parent(parent: Any) -> None:
    """Check a folder for objects that leave memory; None is none.

    Raises:
        ValueError: it is not there and cannot be made, or it cannot be written to.
    """
    if parent is None:
        return
    if not isinstance(parent, str) or not parent:
        raise ValueError(f"object_spilling_directory must be a folder's path, got {parent!r}")
    try:
        os.makedirs(parent, exist_ok=True)
    except OSError as error:
        raise ValueError(f"object_spilling_directory {parent!r} cannot be made: {error}") from error
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"object_spilling_directory {parent!r} cannot be written to")


def _check_flags(options: dict[str, Any]) -> None:
    for name in ("local_mode", "ignore_reinit_error", "configure_logging", "enable_resource_isolation"):
        if not isinstance(options[name], bool):
            raise TypeError(f"{name} must be True or False, got {options[name]!r} of {type(options[name])}")
    for name in ("include_dashboard", "log_to_driver"):
        if options[name] is not None and not isinstance(options[name], bool):
            raise TypeError(
                f"{name} must be None, True or False, got {options[name]!r} of {type(options[name])}"
            )
    if options["local_mode"]:
        raise RuntimeError(
            "local_mode is no longer supported: it ran tasks in the driver and hid what differs on a cluster. "
            "Start a small cluster with init(num_cpus=1), or set breakpoints with the debugger"
        )
    port = options["dashboard_port"]
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65_535):
        raise ValueError(f"dashboard_port must be a port number, got {port!r}")


def refuse_orders(options: dict[str, Any], address: str) -> None:
    """Refuse what only the one who starts a node can decide.

    Raises:
        ValueError: such an option is set though the program joins a running cluster.
    """
    given = [name for name in _ORDERS_ONLY if options[name] is not None]
    if given:
        raise ValueError(
            f"When connecting to an existing cluster ({address}), {' and '.join(given)} must not be provided: they are "
            "chosen where its nodes are started"
        )


def node_shape(
    *,
    num_cpus: float | None,
    num_gpus: float | None,
    resources: dict[str, float] | None,
    labels: dict[str, str] | None,
    object_store_memory: float | None,
    memory: float | None,
    ip: str,
    is_head: bool,
) -> NodeShape:
    """What a node of this machine offers when some of it is chosen; the rest is found out."""
    total = machine.memory_bytes()
    store = int(object_store_memory) if object_store_memory else _default_store(total)
    gpus = machine.gpu_count() if num_gpus is None else num_gpus
    amounts: dict[str, float] = {
        "CPU": machine.cpu_count() if num_cpus is None else num_cpus,
        "memory": int(memory) if memory else max(int(total * 0.7), total - store),
        "object_store_memory": store,
        f"node:{ip}": 1.0,
    }
    if gpus:
        amounts["GPU"] = gpus
    model = machine.gpu_type() if gpus else None
    if model:
        amounts[f"accelerator_type:{model}"] = 1.0
    if is_head:
        amounts["node:__internal_head__"] = 1.0
    amounts.update(_from_environment(resources))
    named = {name: float(amount) for name, amount in amounts.items() if amount}
    return NodeShape(named, store, _labels(labels, model))


def _default_store(total: int) -> int:
    forced = os.environ.get("RAY_DEFAULT_OBJECT_STORE_MEMORY_PROPORTION")
    return max(MIN_STORE_BYTES, int(total * float(forced)) if forced else machine.object_store_bytes(total))


def _from_environment(resources: dict[str, float] | None) -> dict[str, float]:
    text = os.environ.get("RAY_OVERRIDE_RESOURCES")
    if not text:
        return dict(resources or {})
    import json

    return {**(resources or {}), **json.loads(text)}


def _labels(labels: dict[str, str] | None, model: str | None) -> dict[str, str]:
    found = {"ray.io/accelerator-type": model} if model else {}
    return {**found, **(labels or {})}
