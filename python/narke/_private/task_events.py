"""Task events as Chrome's trace viewer draws them."""

from __future__ import annotations

from typing import Any

__all__ = ["trace_events"]

_COLOURS = {"task": "generic_work", "actor_task": "rail_response", "actor_creation": "rail_load"}


def trace_events(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turn records of finished tasks into complete events, with a name for each process and thread.

    Args:
        records: dicts with name, kind, node_ip, worker_id, pid, task_id, start_us and end_us (since the epoch).
    """
    events: list[dict[str, Any]] = []
    named: set[tuple[str, str]] = set()
    for record in records:
        process, thread = f"Node {record['node_ip']}", f"worker:{record['pid']}"
        if (process, thread) not in named:
            named.add((process, thread))
            events += [
                _name("process_name", process, thread, process),
                _name("thread_name", process, thread, thread),
            ]
        events.append(_complete(record, process, thread))
    return events


def _name(what: str, process: str, thread: str, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}


def _complete(record: dict[str, Any], process: str, thread: str) -> dict[str, Any]:
    kind = record.get("kind", "task")
    return {
        "cat": f"task::{record['name']}" if kind == "task" else kind,
        "name": record["name"],
        "pid": process,
        "tid": thread,
        "ts": record["start_us"],
        "dur": max(0, record["end_us"] - record["start_us"]),
        "ph": "X",
        "cname": _COLOURS.get(kind, "generic_work"),
        "args": {"task_id": record["task_id"], "worker_id": record.get("worker_id"), "name": record["name"]},
    }
