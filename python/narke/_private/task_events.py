"""What ran when, as Chrome's trace viewer draws it, and how user code adds to it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["profile", "trace_events"]

_COLOURS = {
    "NORMAL_TASK": "generic_work",
    "ACTOR_TASK": "rail_response",
    "ACTOR_CREATION_TASK": "rail_load",
    "PROFILE": "rail_animation",
}


@contextlib.contextmanager
def profile(event_type: str, extra_data: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Show how long the block took in the timeline, in the row of the worker that runs it.

    Args:
        event_type: its name.
        extra_data: what else the viewer shows of it; must be JSON.
    """
    from narke import _native

    extra = json.dumps(dict(extra_data or {}))
    began_us = time.time_ns() // 1000
    try:
        yield
    finally:
        _native.profile_event(event_type, extra, began_us, time.time_ns() // 1000)


def trace_events(
    records: Iterable[Mapping[str, Any]], node_ips: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Turn records of what ran into complete events, with a name for each process and thread.

    Args:
        records: what the control method ``task_events`` answers; what still runs lasts until now.
        node_ips: the address of each node by its id.
    """
    ips = node_ips or {}
    events: list[dict[str, Any]] = []
    named: set[tuple[str, str]] = set()
    now_us = time.time_ns() // 1000
    for record in records:
        process = f"Node {ips.get(record['node_id'], record['node_id'][:8])}"
        thread = f"worker:{record['pid']}"
        if (process, thread) not in named:
            named.add((process, thread))
            events += [
                _name("process_name", process, thread, process),
                _name("thread_name", process, thread, thread),
            ]
        events.append(_complete(record, process, thread, record["end_us"] or now_us))
    return events


def _name(what: str, process: str, thread: str, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}


def _complete(record: Mapping[str, Any], process: str, thread: str, end_us: int) -> dict[str, Any]:
    kind, name = record["type"], record["name"]
    args = {key: record[key] for key in ("task_id", "worker_id", "job_id", "attempt_number", "state")}
    if record.get("extra"):
        args.update(json.loads(record["extra"]))
    return {
        "cat": name if kind == "PROFILE" else f"task::{record['func_or_class_name']}",
        "name": name,
        "pid": process,
        "tid": thread,
        "ts": record["start_us"],
        "dur": max(0, end_us - record["start_us"]),
        "ph": "X",
        "cname": _COLOURS.get(kind, "generic_work"),
        "args": {**args, "name": name},
    }
