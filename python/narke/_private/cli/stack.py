"""``narke stack``: the Python stacks of the cluster's programs, of hung ones too, without being root."""

from __future__ import annotations

import argparse
from typing import Any

from narke._private.cli.connection import CommandError, connected, run

__all__ = ["main"]

_STATES = {"R": "active", "S": "idle", "D": "waits for a device", "T": "stopped"}


def main(words: list[str]) -> int:
    """Print the stacks; returns 0, or 1 when there is no cluster or no such program."""
    parser = argparse.ArgumentParser(prog="narke stack", description=__doc__)
    parser.add_argument("pid", nargs="*", type=int, help="processes; all workers and drivers by default")
    parser.add_argument("--address", help="the cluster; the latest one by default")
    parser.add_argument("--node-id", default="", help="only programs of this node")
    parser.add_argument(
        "--engine",
        action="store_true",
        help="instead of stacks: what each program's engine and each node has under way, and what waits for what",
    )
    return run("stack", _show, parser.parse_args(words))


def _show(options: argparse.Namespace) -> None:
    from narke._private import control, state
    from narke.exceptions import RayError

    with connected(options.address):
        programs = [
            row
            for row in state.snapshot("workers")
            if options.node_id in ("", row["node_id"]) and (not options.pid or row["pid"] in options.pid)
        ]
        missing = set(options.pid) - {row["pid"] for row in programs}
        if missing:
            raise CommandError(
                f"no worker or driver of the cluster is process {', '.join(map(str, sorted(missing)))}; "
                "`narke list workers` shows those there are"
            )
        for row in programs:
            try:
                what = "engine" if options.engine else "stack"
                answer = control.call("probe", what=what, worker_id=row["worker_id"])
                print(_engine(row, answer) if options.engine else _told(row, answer))
            except (
                RayError,
                ValueError,
            ) as problem:  # it has ended meanwhile, or is stopped: the others are shown
                print(f"{_title(row)}\n  {problem}\n")
        if options.engine and not options.pid:
            for node in control.call("describe_nodes")["nodes"]:
                if options.node_id in ("", node["node_id"]):
                    print(node["text"])


def _engine(row: dict[str, Any], answer: dict[str, Any]) -> str:
    return "\n  ".join([_title(row), *answer["text"].splitlines()]) + "\n"


def _title(row: dict[str, Any]) -> str:
    runs = f", runs {row['task_name']}" if row.get("task_name") else ""
    return f"Process {row['pid']} ({row['worker_type'].lower()} {row['worker_id'][:16]}{runs}) on {row['ip']}"


def _told(row: dict[str, Any], answer: dict[str, Any]) -> str:
    lines = [_title(row)]
    for thread in answer["threads"]:
        name = "MainThread" if thread["is_main"] else thread["name"]
        what = _STATES.get(thread["state"], thread["state"]) + (
            ", holds the GIL" if thread["holds_gil"] else ""
        )
        lines.append(f"  Thread {thread['native_id']} {name} ({what})")
        lines += [
            f"      {frame['function']} ({frame['file']}:{frame['line']})" for frame in thread["frames"]
        ]
    if not answer["threads"]:
        lines.append("  no Python code runs")
    return "\n".join(lines) + "\n"
