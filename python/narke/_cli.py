"""The command ``narke``."""

from __future__ import annotations

import importlib
import sys

from narke._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "command_of", "main"]

COMMANDS = {
    "run": "run a Python program; `import ray` in it gives Narke",
    "dashboard": "print a link to the dashboard that logs in",
    "serve": "deploy and look after Serve applications",
    "job": "submit programs to a cluster, and watch them",
    "start": "start a node of this machine",
    "drain-node": "have a node go when what it does is moved or over",
    "stop": "stop the nodes that `narke start` started here",
    "status": "show what a running cluster of this machine has and what is in use",
    "list": "list actors, tasks, objects, nodes, workers, jobs and so on",
    "get": "show one of them with all that is known of it",
    "summary": "count tasks, actors or objects",
    "memory": "show what holds objects, and the objects in the stores",
    "stack": "show what the workers and drivers of a cluster are doing",
    "profile": "record where a program spends its time",
    "logs": "list log files, or show one",
    "timeline": "write what ran when, for Chrome's trace viewer",
    "history": "list the tasks of a session from its folder; the cluster may be gone",
    "debug": "list breakpoints where programs wait, and enter one",
    "doctor": "check this machine and its cluster, and say what to fix",
    "health-check": "exit with 0 when a cluster runs and answers",
    "get-auth-token": "print the token of a cluster",
    "kill-actor": "end a named actor",
    "local-dump": "pack this machine's logs and state into an archive",
    "completion": "print a script that completes commands in bash, zsh or fish",
}
_TABLES = ("list", "get", "summary", "history")
_SMALL = ("health-check", "get-auth-token", "kill-actor", "local-dump")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        module, arguments = command_of(words)
        return int(importlib.import_module(module).main(*arguments))
    import argparse  # here: most commands are found without it

    parser = argparse.ArgumentParser(
        prog="narke",
        description="Distributed tasks, actors and objects; runs Ray programs unchanged.",
        epilog="commands:\n" + "\n".join(f"  {name:14} {text}" for name, text in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"narke {__version__}")
    parser.add_argument(
        "command", choices=list(COMMANDS), help="what to do; `narke COMMAND --help` says more"
    )
    parser.parse_args(words)
    return 0


def command_of(words: list[str]) -> tuple[str, list[object]]:
    """The module that runs a command, and what its `main` is called with."""
    name, rest = words[0], words[1:]
    if name in _TABLES:
        return "narke._private.cli.tables", [rest, name]
    if name in _SMALL:
        return "narke._private.cli.small", [rest, name]
    return f"narke._private.cli.{name.replace('-', '_')}", [rest]


if __name__ == "__main__":
    sys.exit(main())
