"""``narke logs``: the log files of a cluster, and what is in them."""

from __future__ import annotations

import argparse

from narke._private.cli.connection import connected, run

__all__ = ["main"]

_KINDS = ("cluster", "actor", "worker", "task", "job")


def main(words: list[str]) -> int:
    """Print names or a log; returns 0, 1 for a failure, 2 for wrong usage."""
    if not words or words[0].startswith("-") or words[0] not in _KINDS:
        words = ["cluster", *words]
    kind, rest = words[0], words[1:]
    options = _parser(kind).parse_args(rest)
    return run("logs", _show, kind, options)


def _parser(kind: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"narke logs {kind}", description=f"Kinds: {', '.join(_KINDS)} (cluster: any file, by its name)."
    )
    if kind == "cluster":
        parser.add_argument(
            "glob_filter", nargs="?", help="a file's name, or a pattern of names; none lists all"
        )
    elif kind in ("actor", "task", "job"):
        parser.add_argument("--id", "-a", required=True, help=f"the {kind}'s id")
    if kind in ("actor", "worker"):
        parser.add_argument("--pid", "-pid", type=int, required=kind == "worker", help="the process")
    if kind == "task":
        parser.add_argument("--attempt-number", type=int, default=0)
    parser.add_argument("--node-id", "-id", dest="node_id", help="the node; this cluster's head by default")
    parser.add_argument("--node-ip", "-ip", dest="node_ip", help="the node by its address")
    parser.add_argument("--address", help="the cluster; the latest one by default")
    parser.add_argument("--follow", "-f", action="store_true", help="go on with what is written later")
    parser.add_argument("--tail", type=int, default=1000, help="last lines; -1 for all")
    parser.add_argument("--err", action="store_true", help="the error output")
    parser.add_argument("--timeout", type=int, default=30, help="most seconds it may take")
    return parser


def _show(kind: str, options: argparse.Namespace) -> None:
    from narke.util.state import get_log, list_logs

    with connected(options.address) as address:
        node_id = options.node_id or (None if options.node_ip else _head())
        fields = {"node_id": None if options.node_ip else node_id, "node_ip": options.node_ip}
        if kind == "cluster":
            names = list_logs(address, **fields, glob_filter=options.glob_filter or "*")
            found = [name for group in names.values() for name in group]
            if not options.glob_filter or len(found) != 1:
                _print_names(names, options.glob_filter)
                return
            fields["filename"] = found[0]
        for option, name in (("id", f"{kind}_id"), ("pid", "pid"), ("attempt_number", "attempt_number")):
            if getattr(options, option, None) is not None:
                fields["submission_id" if name == "job_id" else name] = getattr(options, option)
        suffix = "err" if options.err else "out"
        for piece in get_log(address, **fields, follow=options.follow, tail=options.tail, suffix=suffix):
            print(piece, end="", flush=True)


def _head() -> str:
    import narke

    nodes = [node for node in narke.nodes() if node["Alive"]]
    head = [node for node in nodes if "node:__internal_head__" in node["Resources"]]
    return str((head or nodes)[0]["NodeID"])


def _print_names(names: dict[str, list[str]], pattern: str | None) -> None:
    from narke._private.cli.connection import CommandError
    from narke._private.cli.output import render

    if not names:
        raise CommandError(f"no log file matches {pattern!r}; `narke logs` without a pattern lists all.")
    print(render(names, "yaml"))
