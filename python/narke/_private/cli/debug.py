"""``narke debug``: the breakpoints where programs of a cluster wait, and a debugger in one of them."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from narke._private import sessions_dir
from narke._private.cli.connection import CommandError, connected, run, session_of
from narke._private.cli.output import table

__all__ = ["main"]

_NAMESPACE = b"debugger"
_CONNECT_S = 10.0
_PROMPT_END = b") "  # of pdb's own and of those within it


def main(words: list[str]) -> int:
    """List breakpoints, and enter one; returns 0, 1 for a failure, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="narke debug",
        description="Lists where programs wait at breakpoint() or, with RAY_DEBUG_POST_MORTEM=1, at a failure; a "
        "number enters one of them, an empty line lists them again, q leaves.",
    )
    parser.add_argument(
        "--address",
        help="the cluster; the latest one of this machine by default. From a machine that is not of the cluster "
        "narke://HOST:PORT, with its token in NARKE_AUTH_TOKEN",
    )
    parser.add_argument("--list", action="store_true", help="only list them")
    parser.add_argument("-v", "--verbose", action="store_true", help="with processes and times")
    return run("debug", _debug, parser.parse_args(words))


def _debug(options: argparse.Namespace) -> None:
    with _cluster_at(options.address or os.environ.get("RAY_ADDRESS")) as cluster:
        while True:
            found = cluster.breakpoints()
            _print(found, options.verbose)
            if options.list:
                return
            chosen = _choose(found)
            if chosen is None:
                return
            if chosen:
                _enter(chosen, cluster)


class _Here:
    """A cluster that has a node on this machine."""

    def __init__(self, address: str | None) -> None:
        self._address = address

    def breakpoints(self) -> list[dict[str, Any]]:
        """What waits."""
        with connected(self._address):
            return _breakpoints()

    def link_to(self, chosen: dict[str, Any]) -> contextlib.AbstractContextManager[socket.socket]:
        """A connection to the debugger, which listens on its own host's loopback only."""
        host, _, port = chosen["address"].rpartition(":")
        if sessions_dir.is_own_address(chosen["node_ip"]):  # hosts may have the same name
            return socket.create_connection((host, int(port)), timeout=_CONNECT_S)
        from narke._private.cli import relay

        return relay.connection(session_of(self._address), chosen["node_id"], host, int(port))


class _Away:
    """A cluster that this process has joined from outside."""

    def breakpoints(self) -> list[dict[str, Any]]:
        """What waits."""
        return _breakpoints()

    def link_to(self, chosen: dict[str, Any]) -> contextlib.AbstractContextManager[socket.socket]:
        """As that of `_Here`."""
        from narke._private.cli import relay

        host, _, port = chosen["address"].rpartition(":")
        return relay.carried(chosen["node_id"], host, int(port))


@contextlib.contextmanager
def _cluster_at(address: str | None) -> Iterator[_Here | _Away]:
    """The way to a cluster: of this machine if it has one of this address."""
    try:
        session_of(address)
    except CommandError:
        if address is None or not address.startswith(("narke://", "ray://")):
            raise
    else:
        yield _Here(address)
        return
    import narke

    narke.init(address, log_to_driver=False, configure_logging=False)
    try:
        yield _Away()
    finally:
        narke.shutdown()


def _breakpoints() -> list[dict[str, Any]]:
    """What waits, the longest first."""
    from narke._private import kv

    entries = [kv.get(key, namespace=_NAMESPACE) for key in kv.keys(b"", namespace=_NAMESPACE)]
    return sorted((json.loads(entry) for entry in entries if entry), key=lambda entry: entry["time"])


def _print(found: list[dict[str, Any]], verbose: bool) -> None:
    if not found:
        print("Nothing waits at a breakpoint.", flush=True)
        return
    columns = ["index", "what", "where", "task"] + (["host", "pid", "since"] if verbose else [])
    rows = [
        [i, each["why"], each["where"], each["task"]] + _more(each, verbose) for i, each in enumerate(found)
    ]
    print(table(columns, rows), flush=True)


def _more(each: dict[str, Any], verbose: bool) -> list[Any]:
    since = time.strftime("%H:%M:%S", time.localtime(each["time"]))
    return [each["host"], each["pid"], since] if verbose else []


def _choose(found: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The breakpoint that is asked for; {} to list them again, None to leave."""
    print("Number of a breakpoint, empty to look again, q to leave: ", end="", flush=True)
    line = _input().readline()
    text = line.decode(errors="replace").strip()
    if not line or text.lower() in ("q", "quit", "exit"):
        return None
    if not text:
        return {}
    if not text.isdigit() or int(text) >= len(found):
        print(f"{text!r} is none of them.")
        return {}
    return found[int(text)]


def _input() -> io.FileIO:
    """The standard input without a buffer: what is not read yet is seen by select()."""
    return io.FileIO(sys.stdin.fileno(), closefd=False)


def _enter(chosen: dict[str, Any], cluster: _Here | _Away) -> None:
    """Talk to a debugger until it goes on.

    Args:
        chosen: the breakpoint, as it is listed.
        cluster: the way to it.
    """
    if not chosen["code"]:
        print(f"It waits for an editor: attach one (debugpy) to {chosen['address']} on {chosen['host']}.")
        return
    try:
        with cluster.link_to(chosen) as link:
            link.settimeout(None)
            link.sendall(f"{chosen['code']}\n".encode())
            _talk(link)
    except OSError as error:
        print(f"It does not wait there any more ({error}).")


def _talk(link: socket.socket) -> None:
    """Carry lines there and answers back until the other side hangs up or the input ends.

    A line leaves the input only when the debugger asks for one: those after the last are for who asks next.
    """
    lines = _input()
    with selectors.PollSelector() as ready:  # the input may be a file
        ready.register(link, selectors.EVENT_READ)
        end = b""
        while True:
            for key, _ in ready.select():
                if key.fileobj is link:
                    data = link.recv(65536)
                    if not data:
                        return
                    print(data.decode(errors="replace"), end="", flush=True)
                    end = (end + data)[-len(_PROMPT_END) :]
                    if end == _PROMPT_END and lines not in ready.get_map():
                        ready.register(lines, selectors.EVENT_READ)
                    continue
                ready.unregister(lines)
                if line := lines.readline():
                    link.sendall(line)
                else:  # the program goes on
                    link.shutdown(socket.SHUT_WR)
