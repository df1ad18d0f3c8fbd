"""``narke status``: what a running cluster of this machine has and what of it is in use."""

from __future__ import annotations

import argparse
import sys

__all__ = ["main", "report"]


def main(argv: list[str]) -> int:
    """Print the report; returns 1 when no cluster runs."""
    parser = argparse.ArgumentParser(prog="narke status", description=__doc__)
    parser.add_argument("--address", default="auto", help="the cluster's address; the latest by default")
    options = parser.parse_args(argv)
    import narke

    try:
        context = narke.init(address=options.address, log_to_driver=False, configure_logging=False)
    except ConnectionError as error:
        print(f"narke status: {error}", file=sys.stderr)
        return 1
    with context:
        total, free = narke.cluster_resources(), narke.available_resources()
        print(report(context.address_info["address"], len(narke.nodes()), total, free))
    return 0


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
