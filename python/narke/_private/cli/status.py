"""``narke status``: what a running cluster of this machine has and what of it is in use."""

from __future__ import annotations

from narke._private.cli.connection import connected, run
from narke._private.cli.output import add_format, paint, render

TYPE_CHECKING = False  # what is imported here, every look at a cluster waits for
if TYPE_CHECKING:
    from typing import Any

__all__ = ["main", "report"]


def main(argv: list[str]) -> int:
    """Print the report; returns 1 when no cluster runs."""
    return run("status", _show, _plain_options(argv) or _any_options(argv))


class _Options:
    address: str | None = None
    verbose = False
    format = "default"


def _plain_options(argv: list[str]) -> _Options | None:
    """The options of the commonest calls, read without argparse, whose import takes as long as the answer; None for
    other calls."""
    options = _Options()
    for word in argv:
        if word.startswith("--address="):
            options.address = word.removeprefix("--address=")
        elif word in ("-v", "--verbose"):
            options.verbose = True
        elif word in ("--json", "--format=json"):
            options.format = "json"
        else:
            return None
    return options


def _any_options(argv: list[str]) -> _Options:
    import argparse

    parser = argparse.ArgumentParser(prog="narke status", description=__doc__)
    parser.add_argument("--address", help="the cluster's address; the latest by default")
    parser.add_argument("-v", "--verbose", action="store_true", help="with each node's resources")
    add_format(parser, ("default", "json", "yaml"))
    return parser.parse_args(argv, _Options())


def _show(options: _Options) -> None:
    from narke._private import state

    with connected(options.address) as address:
        total, free, nodes = state.cluster_resources(), state.available_resources(), state.nodes()
        demand = state.pending_demand()
    if options.format != "default":
        used = {name: amount - free.get(name, 0.0) for name, amount in total.items()}
        alive = sum(node["Alive"] for node in nodes)
        facts = {"address": address, "nodes": alive, "total": total, "used": used, "demand": demand}
        print(render(facts, options.format))
        return
    print(report(address, sum(node["Alive"] for node in nodes), total, free))
    if options.verbose:
        for node in nodes:
            state_text = "alive" if node["Alive"] else paint("dead", "red")
            print(f"\nNode {node['NodeID'][:16]} at {node['NodeManagerAddress']}: {state_text}")
            print(
                "\n".join(
                    f"  {_amount(name, value)} {name}" for name, value in sorted(node["Resources"].items())
                )
            )
    print("\n" + _demand_text(demand))


def _demand_text(demand: list[dict[str, Any]]) -> str:
    if not demand:
        return "Demands:\n  (none)"
    lines = []
    for row in demand:
        note = paint(", can never be met as things are", "red") if row["infeasible"] else ""
        lines.append(f"  {row['shape']}: {row['count']} pending{note}")
    return "\n".join(["Demands:", *lines])


def report(address: str, nodes: int, total: dict[str, float], free: dict[str, float]) -> str:
    """The cluster's state as text.

    Args:
        address: its address.
        nodes: how many nodes it has.
        total, free: amounts by resource.
    """
    lines = [f"Cluster {address}, {nodes} node{'s' if nodes != 1 else ''}", "", "Usage:"]
    for name in sorted(total):
        if name.startswith("node:"):
            continue
        used = total[name] - free.get(name, 0.0)
        lines.append(f"  {_amount(name, used)}/{_amount(name, total[name])} {name}")
    return "\n".join(lines)


def _amount(name: str, value: float) -> str:
    if "memory" in name:
        return f"{value / 2**30:.2f}GiB"
    return f"{value:g}"
