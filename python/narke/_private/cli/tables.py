"""``narke list``, ``get``, ``summary`` and ``history``: the state of a cluster, or what is left of one."""

from __future__ import annotations

import argparse
import re
from typing import Any

from narke._private.cli.connection import CommandError, connected, run
from narke._private.cli.output import add_format, render

__all__ = ["main"]

_RESOURCES = "actors jobs placement-groups nodes workers tasks objects runtime-envs cluster-events".split()
_GETTABLE = "actors jobs placement-groups nodes workers tasks objects".split()
_FILTER = re.compile(r"\s*(?P<key>[A-Za-z_]+)\s*(?P<op>!?=)\s*(?P<value>.*?)\s*", re.S)


def main(words: list[str], command: str) -> int:
    """Run one of the commands; returns 0, 1 for a failure, 2 for wrong usage."""
    options = _parser(command).parse_args(words)
    actions = {"list": _list, "get": _get, "summary": _summary, "history": _history}
    return run(command, actions[command], options)


def _parser(command: str) -> argparse.ArgumentParser:
    texts = {
        "list": "List what a cluster has of a kind.",
        "get": "Show one thing with all that is known of it.",
        "summary": "Count tasks, actors or objects.",
        "history": "List the tasks of a session from its folder; the cluster may be gone.",
    }
    parser = argparse.ArgumentParser(prog=f"narke {command}", description=texts[command])
    if command == "history":
        parser.add_argument("folder", help="the session's folder, or the folder `history` in it")
        parser.add_argument("--summary", action="store_true", help="count tasks by function and state")
        parser.add_argument(
            "--timeline", metavar="FILE", help="write what ran when for Chrome's trace viewer"
        )
        parser.add_argument("--offset", type=int, default=0, help="skip so many")
    else:
        kinds = {"list": _RESOURCES, "get": _GETTABLE, "summary": ("tasks", "actors", "objects")}
        parser.add_argument("resource", choices=kinds[command])
        parser.add_argument("--address", help="the cluster; the latest one by default")
        parser.add_argument("--timeout", type=int, default=30, help="most seconds it may take")
    if command == "get":
        parser.add_argument("id", help="its id")
    if command in ("list", "history"):
        parser.add_argument("-f", "--filter", action="append", default=[], help="key=value or key!=value")
        parser.add_argument("--limit", type=int, default=100, help="at most so many (100)")
        parser.add_argument("--detail", action="store_true", help="with all fields")
    add_format(parser)
    return parser


def _filters(texts: list[str]) -> list[tuple[str, str, str | bool | int | float]]:
    return [_filter_of(text) for text in texts]


def _filter_of(text: str) -> tuple[str, str, str | bool | int | float]:
    match = _FILTER.fullmatch(text)
    if match is None:
        raise CommandError(
            f"{text!r} is no filter; write key=value or key!=value, such as --filter state=RUNNING"
        )
    return match["key"], match["op"], match["value"]


def _list(options: argparse.Namespace) -> None:
    from narke.util.state.api import StateApiClient
    from narke.util.state.common import ListApiOptions, StateResource

    asked = ListApiOptions(
        limit=options.limit, timeout=options.timeout, detail=options.detail, filters=_filters(options.filter)
    )
    resource = StateResource(options.resource.replace("-", "_"))
    with connected(options.address) as address:
        records = StateApiClient(address).list(resource, asked)
    columns = list(resource_columns(resource, options.detail))
    rows = [{column: record[column] for column in columns} for record in records]
    if not rows and options.format in ("default", "table"):
        print("No resource in the cluster")
        return
    print(render(rows, "yaml" if options.detail and options.format == "default" else options.format))
    if len(rows) == options.limit and options.format == "default":
        print(f"\nThe first {options.limit} are shown; there may be more (--limit, --filter).")


def resource_columns(resource: Any, detail: bool) -> list[str]:
    """The fields of a kind's records in their order."""
    from narke.util.state.common import resource_to_schema

    return resource_to_schema(resource).list_columns(detail=detail)


def _get(options: argparse.Namespace) -> None:
    from narke.util.state.api import StateApiClient
    from narke.util.state.common import GetApiOptions, StateResource

    resource = StateResource(options.resource.replace("-", "_"))
    with connected(options.address) as address:
        found = StateApiClient(address).get(resource, options.id, GetApiOptions(timeout=options.timeout))
    if not found:
        raise CommandError(
            f"the cluster has no {options.resource} with the id {options.id!r}; `narke list {options.resource}` "
            "shows those there are."
        )
    print(
        render(
            [each.asdict() for each in found] if isinstance(found, list) else found.asdict(), options.format
        )
    )


def _summary(options: argparse.Namespace) -> None:
    from narke.util.state.api import StateApiClient
    from narke.util.state.common import SummaryApiOptions, SummaryResource

    asked = SummaryApiOptions(timeout=options.timeout)
    with connected(options.address) as address:
        counts = StateApiClient(address).summary(SummaryResource(options.resource), options=asked)["cluster"]
    if options.format in ("json", "yaml"):
        print(render(counts, options.format))
        return
    rows = [{"key": key, **row} for key, row in counts["summary"].items()]
    print("\n".join(f"{name}: {value}" for name, value in counts.items() if name != "summary"))
    print("\n" + (render(rows, "table") if rows else f"There are no {options.resource}."))


def _history(options: argparse.Namespace) -> None:
    import json

    from narke import _native
    from narke._private.task_events import trace_events

    body = {"filters": [list(each) for each in _filters(options.filter)]}
    if options.timeline:
        events = _native.read_history(options.folder, "task_events", {**body, "limit": options.limit})[
            "events"
        ]
        with open(options.timeline, "w", encoding="utf-8") as file:
            json.dump(trace_events(events), file)
        print(f"{len(events)} events written to {options.timeline}")
        return
    if options.summary:
        rows = _native.read_history(options.folder, "summarize_tasks", body)["summary"]
        print(render(rows, options.format))
        return
    page = {"limit": options.limit, "offset": options.offset, "detail": options.detail}
    found = _native.read_history(options.folder, "list_tasks", {**body, **page})
    print(render(found["tasks"], options.format))
    if options.format == "default":
        print(
            f"\n{len(found['tasks'])} of {found['num_filtered']} tasks that match, {found['total']} in all."
        )
