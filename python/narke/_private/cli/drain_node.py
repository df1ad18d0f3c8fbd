"""``narke drain-node``: has a node go, after what it does has been moved or has come to an end."""

from __future__ import annotations

import argparse

__all__ = ["main"]

_REASONS = ("DRAIN_NODE_REASON_IDLE_TERMINATION", "DRAIN_NODE_REASON_PREEMPTION")


def main(argv: list[str]) -> int:
    """Ask the cluster to drain the node; returns 1 when it refuses."""
    from narke._private.cli import connection

    parser = argparse.ArgumentParser(prog="narke drain-node", description=__doc__)
    parser.add_argument("--address", help="address of the cluster; the latest of this machine by default")
    parser.add_argument("--node-id", required=True, type=_node_id, help="hex id of the node")
    parser.add_argument("--reason", required=True, choices=_REASONS, help="why it is to go")
    parser.add_argument("--reason-message", required=True, help="the same in words, for people")
    parser.add_argument(
        "--deadline-remaining-seconds",
        type=_seconds,
        help="when it is to be gone, whatever still runs there; without it, when nothing does",
    )
    options = parser.parse_args(argv)
    return connection.run("drain-node", _drain, options)


def _node_id(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != 28:
        raise argparse.ArgumentTypeError(f"not a node's id, which has 56 hex digits: {text}")
    return found


def _seconds(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"not a number of seconds from 0 on: {text}")
    return int(text)


def _drain(options: argparse.Namespace) -> None:
    from narke import _native
    from narke._private.cli import connection

    left = options.deadline_remaining_seconds
    with connection.connected(options.address):
        answer = _native.control(
            "drain_node",
            {
                "node_id": options.node_id,
                "reason": options.reason,
                "message": options.reason_message,
                "left_ms": -1 if left is None else left * 1000,
            },
        )
    if not answer["accepted"]:
        raise connection.CommandError(f"The drain request is not accepted: {answer['refused']}")
    until = "when it has nothing left to do" if left is None else f"in {left} s at the latest"
    print(f"Node {options.node_id.hex()} is being drained; it goes {until}.")
