"""``narke timeline``: what ran when, for Chrome's trace viewer."""

from __future__ import annotations

import argparse
import time

from narke._private.cli.connection import connected, run

__all__ = ["main"]


def main(words: list[str]) -> int:
    """Write the file; returns 0, or 1 when there is no cluster."""
    parser = argparse.ArgumentParser(prog="narke timeline", description=__doc__)
    parser.add_argument("--address", help="the cluster; the latest one by default")
    parser.add_argument("--output", help="the file; /tmp/narke-timeline-<time>.json by default")
    options = parser.parse_args(words)
    return run("timeline", _write, options)


def _write(options: argparse.Namespace) -> None:
    from narke._private import state

    path = options.output or time.strftime("/tmp/narke-timeline-%Y-%m-%d_%H-%M-%S.json")
    with connected(options.address):
        state.timeline(path)
    print(f"Written to {path}; open it in chrome://tracing or https://ui.perfetto.dev.")
