"""What the cluster says of itself: nodes, resources, tables of actors, jobs and so on, and the timeline."""

from __future__ import annotations

import json

from narke._private import session

TYPE_CHECKING = False  # typing is not cheap to import, and `narke status` is to be quick
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

__all__ = [
    "available_resources",
    "available_resources_per_node",
    "cluster_resources",
    "nodes",
    "pending_demand",
    "snapshot",
    "task_summary",
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
    by_node = _ask("available_resources")["nodes"]
    return {node: _public(resources) for node, resources in by_node.items()}


_PAGE_ROWS = 10_000  # as many as the node gives at once
_COLUMNS = {  # that the node filters by
    "tasks": frozenset(
        ("task_id", "attempt_number", "name", "state", "job_id", "actor_id", "type", "func_or_class_name")
        + ("parent_task_id", "node_id", "worker_id", "worker_pid", "error_type", "language")
    ),
    "actors": frozenset(
        ("actor_id", "class_name", "state", "job_id", "name", "node_id", "pid", "ray_namespace")
        + ("placement_group_id",)
    ),
    "workers": frozenset(("worker_id", "is_alive", "worker_type", "node_id", "ip", "pid")),
    "objects": frozenset(("object_id", "object_size", "task_status", "reference_type", "type", "ip", "pid")),
}
_TABLES = {
    "actors": ("list_actors", "actors"),
    "jobs": ("list_jobs", "jobs"),
    "placement_groups": ("list_placement_groups", "groups"),
    "workers": ("list_workers", "workers"),
    "objects": ("list_objects", "objects"),
    "tasks": ("list_tasks", "tasks"),
    "cluster_events": ("list_cluster_events", "events"),
}


def snapshot(
    kind: str, filters: Sequence[tuple[str, str, Any]] = (), limit: int | None = None, **fields: Any
) -> list[dict[str, Any]]:
    """Records of a kind as the cluster knows them now.

    Args:
        kind: ``"actors"``, ``"jobs"``, ``"placement_groups"``, ``"nodes"``, ``"workers"``, ``"tasks"``,
            ``"objects"``, ``"runtime_envs"`` or ``"cluster_events"``.
        filters: (column, ``"="`` or ``"!="``, value): only records that meet them. The node looks at those on columns
            it knows; the others are the caller's to check.
        limit: no more records than this; None for all.
        fields: passed on to the node, such as ``detail``.
    """
    if kind == "nodes":
        return [_node_record(node) for node in nodes()]
    if kind == "runtime_envs":
        return _runtime_envs()
    method, key = _TABLES[kind]
    if kind not in _COLUMNS:
        return list(_ask(method, **fields)[key])
    known = [list(each) for each in filters if each[0] in _COLUMNS[kind]]
    return list(_pages(method, key, limit if len(known) == len(filters) else None, filters=known, **fields))


def _pages(method: str, key: str, limit: int | None, **body: Any) -> Iterator[dict[str, Any]]:
    """All rows that the node has, asked for in pages."""
    offset = 0
    while limit is None or offset < limit:
        wanted = _PAGE_ROWS if limit is None else min(_PAGE_ROWS, limit - offset)
        rows = _ask(method, limit=wanted, offset=offset, **body)[key]
        yield from rows
        offset += len(rows)
        if len(rows) < wanted:
            return


def _node_record(node: dict[str, Any]) -> dict[str, Any]:
    return {
        "node_id": node["NodeID"],
        "node_ip": node["NodeManagerAddress"],
        "node_name": node["NodeName"],
        "is_head_node": "node:__internal_head__" in node["Resources"],
        "state": "ALIVE" if node["Alive"] else "DEAD",
        "state_message": _node_message(node),
        "resources_total": dict(node["Resources"]),
        "labels": dict(node["Labels"]),
        "start_time_ms": node.get("start_time_ms"),
        "end_time_ms": node.get("end_time_ms"),
    }


def _node_message(node: dict[str, Any]) -> str | None:
    if node["Alive"] and node.get("DrainReason"):
        return f"Draining ({node['DrainReason']}): {node['DrainMessage']}"
    return node.get("DeathReasonMessage") or None


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


def pending_demand() -> list[dict[str, Any]]:
    """What waits for resources: dicts with shape, count, infeasible, lacking and others."""
    return list(_ask("pending_demand")["demand"])


def task_summary() -> dict[str, Any]:
    """How many tasks of each function are in which state: ``summary``, ``total_tasks`` and so on."""
    return _ask("summarize_tasks")


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """The events of tasks in the format of Chrome's trace viewer (chrome://tracing).

    Args:
        filename: write them there as JSON instead of returning them.

    Raises:
        narke.exceptions.RaySystemError: this program is not connected.
    """
    from narke._private.task_events import trace_events

    ips = {node["NodeID"]: node["NodeManagerAddress"] for node in nodes()}
    events = trace_events(_pages("task_events", "events", None), ips)
    if filename is None:
        return events
    with open(filename, "w", encoding="utf-8") as file:
        json.dump(events, file)
    return None
