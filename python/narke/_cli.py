"""The command ``narke``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from narke._version import __version__

__all__ = ["main"]

_COMMANDS = {
    "run": "run a Python program; `import ray` in it gives Narke",
    "dashboard": "print a link to the dashboard that logs in",
    "serve": "deploy and look after Serve applications",
    "job": "submit programs to a cluster, and watch them",
    "start": "start a node of this machine",
    "stop": "stop the nodes that `narke start` started here",
    "status": "show what a running cluster of this machine has and what is in use",
    "list": "list actors, tasks, objects, nodes, workers, jobs and so on",
    "get": "show one of them with all that is known of it",
    "summary": "count tasks, actors or objects",
    "memory": "show the objects in the stores",
    "logs": "list log files, or show one",
    "timeline": "write what ran when, for Chrome's trace viewer",
    "history": "list the tasks of a session from its folder; the cluster may be gone",
}
_TABLES = ("list", "get", "summary", "history")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in _COMMANDS:
        if words[0] in _TABLES:
            return int(importlib.import_module("narke._private.cli.tables").main(words[1:], words[0]))
        return int(importlib.import_module(f"narke._private.cli.{words[0]}").main(words[1:]))
    parser = argparse.ArgumentParser(
        prog="narke",
        description="Distributed tasks, actors and objects; runs Ray programs unchanged.",
        epilog="commands:\n" + "\n".join(f"  {name:9} {text}" for name, text in _COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"narke {__version__}")
    parser.add_argument(
        "command", choices=list(_COMMANDS), help="what to do; `narke COMMAND --help` says more"
    )
    parser.parse_args(words)
    return 0


if __name__ == "__main__":
    sys.exit(main())
