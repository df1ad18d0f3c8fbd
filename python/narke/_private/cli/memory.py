"""``narke memory``: the objects in the cluster's stores and what keeps them."""

from __future__ import annotations

import argparse
from typing import Any

from narke._private.cli.connection import connected, run
from narke._private.cli.output import table

__all__ = ["main"]

_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_SORT_KEYS = {"PID": "pid", "OBJECT_SIZE": "object_size", "REFERENCE_TYPE": "reference_type"}


def main(words: list[str]) -> int:
    """Print the table; returns 0, or 1 when there is no cluster."""
    parser = argparse.ArgumentParser(prog="narke memory", description=__doc__)
    parser.add_argument("--address", help="the cluster; the latest one by default")
    parser.add_argument("--group-by", choices=("NODE_ADDRESS", "STACK_TRACE"), default="NODE_ADDRESS")
    parser.add_argument("--sort-by", choices=tuple(_SORT_KEYS), default="OBJECT_SIZE")
    parser.add_argument("--units", choices=tuple(_UNITS), default="B")
    parser.add_argument("--stats-only", action="store_true", help="only the totals")
    parser.add_argument("--num-entries", "--n", type=int, help="at most so many objects")
    return run("memory", _show, parser.parse_args(words))


def _show(options: argparse.Namespace) -> None:
    from narke._private import control, state

    with connected(options.address):
        objects = [] if options.stats_only else state.snapshot("objects")
        stats = control.call("store_stats")
    if not options.stats_only:
        print(_listed(objects, options))
    print(_totals(stats))


def _listed(objects: list[dict[str, Any]], options: argparse.Namespace) -> str:
    group = "ip" if options.group_by == "NODE_ADDRESS" else "call_site"
    key = _SORT_KEYS[options.sort_by]
    rows = sorted(
        objects, key=lambda row: (str(row.get(group)), row.get(key) or 0), reverse=key == "object_size"
    )
    unit = _UNITS[options.units]
    texts = [
        [row.get(group) or "disabled", row.get("pid") or "", row["type"], row["task_status"]]
        + [f"{row['object_size'] / unit:g} {options.units}", row["reference_type"], row["object_id"]]
        for row in rows[: options.num_entries]
    ]
    columns = [group.replace("_", " "), "pid", "type", "task status", "size", "reference type", "object ref"]
    return table(columns, texts) + "\n"


def _totals(stats: dict[str, Any]) -> str:
    mib = 1 << 20
    return (
        f"Objects in the store: {stats['objects']}, {stats['used_bytes'] / mib:.1f} of "
        f"{stats['capacity_bytes'] / mib:.1f} MiB; in use by readers: {stats['pinned_objects']}, "
        f"{stats['pinned_bytes'] / mib:.1f} MiB; spilled to disk: {stats['spilled_objects']}, "
        f"{stats['spilled_bytes'] / mib:.1f} MiB."
    )
