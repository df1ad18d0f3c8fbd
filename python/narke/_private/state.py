"""What the cluster says of itself: nodes, resources, tables of actors, jobs and so on, and the timeline."""

from __future__ import annotations

import json
from typing import Any

from narke._private import session

__all__ = [
    "available_resources",
    "available_resources_per_node",
    "cluster_resources",
    "nodes",
    "snapshot",
    "timeline",
]


def _ask(method: str, **body: Any) -> dict[str, Any]:
    """Ask the node.

    Raises:
        narke.exceptions.RaySystemError: this program is not connected.
    """
    if session.current() is None:
        from narke.exceptions import RaySystemError

        raise RaySystemError("Ray has not been started yet. You can start Ray with 'ray.init()'.")
    return session.native().control(method, body)


def nodes() -> list[dict[str, Any]]:
    """The nodes of the cluster, dead ones too.

    Returns:
        dicts with NodeID, Alive, NodeManagerAddress, NodeManagerHostname, Resources, Labels and others.

    Raises:
        narke.exceptions.RaySystemError: this program is not connected.
    """
    defaults = {"MetricsAgentPort": 0, "DashboardAgentListenPort": 0}
    return [{**defaults, **node} for node in _ask("nodes")["nodes"]]


def cluster_resources() -> dict[str, float]:
    """What the living nodes offer altogether, by resource name.

    Raises:
        narke.exceptions.RaySystemError: this program is not connected.
    """
    return _public(_ask("cluster_resources")["resources"])


def available_resources() -> dict[str, float]:
    """What of it is free now; a resource of which nothing is free is left out.

    Raises:
        narke.exceptions.RaySystemError: this program is not connected.
    """
    free = _public(_ask("available_resources")["resources"])
    if "object_store_memory" in free:  # what objects take up is not free either
        store = _ask("store_stats")
        left = float(store["capacity_bytes"] - store["used_bytes"])
        free["object_store_memory"] = min(free["object_store_memory"], left)
    return free


def _public(resources: dict[str, Any]) -> dict[str, float]:
    return {name: float(amount) for name, amount in resources.items()}


def available_resources_per_node() -> dict[str, dict[str, float]]:
    """What is free now on each living node, by the node's id in hex."""
    alive = [node["NodeID"] for node in nodes() if node["Alive"]]
    by_node = _ask("available_resources").get("nodes")
    if by_node is not None:
        return {node: _public(resources) for node, resources in by_node.items()}
    # One node: what the cluster has free is what it has free.
    return {node: available_resources() for node in alive}


_TABLES = {
    "actors": ("list_actors", "actors"),
    "jobs": ("list_jobs", "jobs"),
    "placement_groups": ("list_placement_groups", "groups"),
    "workers": ("list_workers", "workers"),
    "objects": ("list_objects", "objects"),
    "tasks": ("list_tasks", "tasks"),
    "cluster_events": ("list_cluster_events", "events"),
}


def snapshot(kind: str, **filters: Any) -> list[dict[str, Any]]:
    """Every record of a kind as the cluster knows it now.

    Args:
        kind: ``"actors"``, ``"jobs"``, ``"placement_groups"``, ``"nodes"``, ``"workers"``, ``"tasks"``,
            ``"objects"``, ``"runtime_envs"`` or ``"cluster_events"``.
        filters: passed on to the node, which may narrow its answer by them.
    """
    if kind == "nodes":
        return [_node_record(node) for node in nodes()]
    if kind == "runtime_envs":
        return _runtime_envs()
    method, key = _TABLES[kind]
    return list(_ask(method, **filters)[key])


def _node_record(node: dict[str, Any]) -> dict[str, Any]:
    return {
        "node_id": node["NodeID"],
        "node_ip": node["NodeManagerAddress"],
        "node_name": node["NodeName"],
        "is_head_node": "node:__internal_head__" in node["Resources"],
        "state": "ALIVE" if node["Alive"] else "DEAD",
        "state_message": node.get("DeathReasonMessage") or None,
        "resources_total": dict(node["Resources"]),
        "labels": dict(node["Labels"]),
        "start_time_ms": node.get("start_time_ms"),
        "end_time_ms": node.get("end_time_ms"),
    }


def _runtime_envs() -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for worker in snapshot("workers"):
        text = worker.get("runtime_env")
        if text:
            entry = found.setdefault(
                text, {"ref_cnt": 0, "success": True, "error": None, "creation_time_ms": None}
            )
            entry.update(runtime_env=json.loads(text), node_id=worker.get("node_id"))
            entry["ref_cnt"] += 1
    return list(found.values())


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """The events of tasks in the format of Chrome's trace viewer (chrome://tracing).

    Args:
        filename: write them there as JSON instead of returning them.

    Raises:
        narke.exceptions.RaySystemError: this program is not connected.
    """
    from narke._private.task_events import trace_events

    events = trace_events(_ask("task_events")["events"])
    if filename is None:
        return events
    with open(filename, "w", encoding="utf-8") as file:
        json.dump(events, file)
    return None
