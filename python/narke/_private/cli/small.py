"""``narke health-check``, ``get-auth-token``, ``kill-actor`` and ``local-dump``."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tarfile
import time
from collections.abc import Callable, Iterator

from narke._private.cli.connection import CommandError, connected, run, session_of

__all__ = ["main"]

_TOKEN_FILE = os.path.join("~", ".ray", "auth_token")


def main(words: list[str], command: str) -> int:
    """Run one of the commands; returns 0, 1 for a failure, 2 for wrong usage."""
    parser, action = _COMMANDS[command]()
    return run(command, action, parser.parse_args(words))


_Made = tuple[argparse.ArgumentParser, Callable[[argparse.Namespace], None]]


def _parser(name: str, text: str, address: bool = True) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"narke {name}", description=text)
    if address:
        parser.add_argument("--address", help="the cluster; the latest one by default")
    return parser


# ---- health ------------------------------------------------------------------------------------------------


def _health() -> _Made:
    parser = _parser("health-check", "Exit with 0 when a cluster runs and answers, with 1 when not.")
    parser.add_argument("--component", help="a program that must be there: node, or gateway")
    parser.add_argument("--skip-version-check", action="store_true", help="any version will do, as always")
    return parser, _check_health


def _check_health(options: argparse.Namespace) -> None:
    from narke._private import control

    if options.component not in (None, "node", "gateway"):
        raise CommandError(f"there is no component {options.component!r}; choose node or gateway.")
    with connected(options.address) as address:
        control.call("cluster_resources")
        if options.component == "gateway":
            from narke._private.gateway_address import find_gateway
            from narke._private.http_client import HttpClient

            reply = HttpClient(find_gateway(address)[0]).request("GET", "/api/gcs_healthz")
            if reply.status != 200:
                raise CommandError(f"the gateway answers {reply.status}: {reply.text}")
    print(f"The cluster {address} answers.")


# ---- token -------------------------------------------------------------------------------------------------


def _token() -> _Made:
    parser = _parser("get-auth-token", "Print the token of a cluster, or of ~/.ray/auth_token.")
    parser.add_argument("--generate", action="store_true", help="make ~/.ray/auth_token if there is none")
    return parser, _print_token


def _print_token(options: argparse.Namespace) -> None:
    from narke._private import sessions_dir
    from narke._private.gateway_address import token_at_home

    kept = token_at_home()
    if options.generate and kept is None:
        path = os.path.expanduser(_TOKEN_FILE)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        kept = os.urandom(32).hex()
        sessions_dir.write_private(path, kept)
    if kept is None or options.address:
        kept = sessions_dir.token_of(session_of(options.address)).decode()
    print(kept)


# ---- actors ------------------------------------------------------------------------------------------------


def _kill() -> _Made:
    parser = _parser("kill-actor", "End a named actor: after the calls it has, or at once.")
    parser.add_argument("--name", required=True, help="the actor's name")
    parser.add_argument("--namespace", default="default", help="where it was named")
    parser.add_argument("--force", action="store_true", help="at once")
    parser.add_argument("--no-restart", action="store_true", help="with --force: it does not start again")
    return parser, _kill_actor


def _kill_actor(options: argparse.Namespace) -> None:
    import narke

    narke.init(address=session_of(options.address), namespace=options.namespace, log_to_driver=False)
    try:
        actor = narke.get_actor(options.name)
        if options.force:
            narke.kill(actor, no_restart=options.no_restart)
        else:
            actor.__ray_terminate__.remote()
    finally:
        narke.shutdown()
    print(f"The actor {options.name!r} {'was ended' if options.force else 'ends after the calls it has'}.")


# ---- dump --------------------------------------------------------------------------------------------------


def _dump() -> _Made:
    parser = _parser("local-dump", "Pack this machine's logs and state of a cluster into a tar.gz archive.")
    parser.add_argument("--output", "-o", help="the file; ./narke-dump-<time>.tar.gz by default")
    parser.add_argument("--stream", "-S", action="store_true", help="write it to the standard output")
    for name, text in (
        ("logs", "log files"),
        ("debug-state", "what the session's folder says"),
        ("pip", "packages"),
    ):
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=True, help=text)
    parser.add_argument(
        "--processes", action=argparse.BooleanOptionalAction, default=True, help="process table"
    )
    parser.add_argument(
        "--processes-verbose",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="with whole command lines",
    )
    parser.add_argument("--tempfile", "-T", help="where to write it first; beside the output by default")
    return parser, _write_dump


def _write_dump(options: argparse.Namespace) -> None:
    folder = session_of(options.address)
    if options.stream:
        with tarfile.open(fileobj=sys.stdout.buffer, mode="w|gz") as archive:
            _fill(archive, folder, options)
        return
    output = options.output or time.strftime("narke-dump-%Y-%m-%d_%H-%M-%S.tar.gz")
    draft = options.tempfile or f"{output}.part"
    try:
        with tarfile.open(draft, "w:gz") as archive:
            _fill(archive, folder, options)
        os.replace(draft, output)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
    print(f"Written to {output}. It holds what programs printed: read it before you pass it on.")


def _fill(archive: tarfile.TarFile, folder: str, options: argparse.Namespace) -> None:
    if options.logs:
        archive.add(os.path.join(folder, "logs"), "logs")
    if options.debug_state:
        from narke._private import sessions_dir

        _add_text(archive, "info.json", json.dumps(sessions_dir.read_info(folder), indent=2))
    if options.pip:
        import importlib.metadata

        found = sorted(f"{each.name}=={each.version}" for each in importlib.metadata.distributions())
        _add_text(archive, "packages.txt", "\n".join(found))
    if options.processes:
        _add_text(archive, "processes.txt", "\n".join(_processes(options.processes_verbose)))


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    info = tarfile.TarInfo(name)
    data = text.encode()
    info.size, info.mtime, info.mode = len(data), int(time.time()), 0o600
    archive.addfile(info, io.BytesIO(data))


def _processes(verbose: bool) -> Iterator[str]:
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                name = file.read().strip()
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                line = file.read().replace("\0", " ").strip()
            if "narke" in name + line:
                yield f"{pid} {line if verbose and line else name}"


_COMMANDS: dict[str, Callable[[], _Made]] = {
    "health-check": _health,
    "get-auth-token": _token,
    "kill-actor": _kill,
    "local-dump": _dump,
}
