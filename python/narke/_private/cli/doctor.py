"""``narke doctor``: checks this machine and the cluster that runs on it, and says what to fix."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from narke._private.cli.output import paint

__all__ = ["Finding", "check_cluster", "check_machine", "main"]

_FEW_FILES, _FEW_PROCESSES = 1024, 1024
_FILES_WANTED, _PROCESSES_WANTED = 16_384, 4_096
_SMALL_DISK_BYTES, _SMALL_DISK_SHARE = 1 << 30, 0.05
_SMALL_MEMORY_BYTES = 512 << 20
_UNSYNCHRONIZED = 5  # TIME_ERROR of adjtimex(2)
_COLORS = {"ok": "green", "warning": "yellow", "error": "red"}


class Finding(NamedTuple):
    """What one check has found.

    Attributes:
        level: "ok", "warning" or "error".
        subject: what was looked at.
        text: what is there.
        fix: what to do, "" when all is well.
    """

    level: str
    subject: str
    text: str
    fix: str = ""


def main(words: list[str]) -> int:
    """Print what was found; returns 0, 1 when something is an error, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="narke doctor", description=__doc__)
    parser.add_argument("--address", help="the cluster; the latest one by default")
    parser.add_argument("--json", action="store_true", help="as a JSON list")
    options = parser.parse_args(words)
    found = [*check_machine(), *check_cluster(options.address)]
    if options.json:
        print(json.dumps([each._asdict() for each in found], indent=2))
    else:
        print("\n".join(_lines(found)))
    return int(any(each.level == "error" for each in found))


def _lines(found: list[Finding]) -> Iterator[str]:
    for each in found:
        yield f"{paint(each.level.ljust(7), _COLORS[each.level])}  {each.subject}: {each.text}"
        if each.fix:
            yield f"         -> {each.fix}"


# ---- the machine -------------------------------------------------------------------------------------------


def check_machine() -> list[Finding]:
    """What a node needs of this machine."""
    checks: tuple[Callable[[], Finding], ...] = (
        _programs,
        _python,
        _packages,
        _open_files,
        _processes,
        _memory,
        _shared_memory,
        _sessions_folder,
        _disk,
        _ports,
        _clock,
    )
    return [check() for check in checks]


def _programs() -> Finding:
    import subprocess

    from narke._private import node_process

    try:
        path = node_process.program()
        subprocess.run([path, "--help"], capture_output=True, timeout=20, check=True)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        return Finding(
            "error", "programs", str(error), "Install the wheel for this system, or build the source tree."
        )
    return Finding("ok", "programs", path)


def _python() -> Finding:
    text = f"{sys.version.split()[0]} at {sys.executable}"
    try:
        from narke import _native  # noqa: F401
    except ImportError as error:
        return Finding(
            "error", "Python", f"{text}: {error}", "Install the wheel that was built for this Python."
        )
    return Finding("ok", "Python", text)


def _packages() -> Finding:
    import importlib.metadata

    versions = []
    for name in ("cloudpickle", "numpy", "pyarrow"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    if not any(text.startswith("cloudpickle") for text in versions):
        return Finding("error", "packages", "cloudpickle is missing", "Run `pip install cloudpickle`.")
    return Finding("ok", "packages", ", ".join(versions))


def _limit(name: str, kind: int, few: int, wanted: int, option: str) -> Finding:
    soft, hard = resource.getrlimit(kind)
    most = hard if hard != resource.RLIM_INFINITY else sys.maxsize
    now = soft if soft != resource.RLIM_INFINITY else sys.maxsize
    text = (
        "unlimited" if now == sys.maxsize else f"{now} (most: {'unlimited' if most == sys.maxsize else most})"
    )
    fix = f"Raise it with `ulimit {option} {wanted}`, or for good in /etc/security/limits.conf."
    if now < few:
        return Finding("error", name, text, fix)
    return Finding("warning", name, text, fix) if now < wanted else Finding("ok", name, text)


def _open_files() -> Finding:
    # A node raises the limit for itself as far as it may.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= _FILES_WANTED:
        return Finding("ok", "open files", "unlimited" if hard == resource.RLIM_INFINITY else str(hard))
    return _limit("open files", resource.RLIMIT_NOFILE, _FEW_FILES, _FILES_WANTED, "-n")


def _processes() -> Finding:
    return _limit("processes", resource.RLIMIT_NPROC, _FEW_PROCESSES, _PROCESSES_WANTED, "-u")


def _memory() -> Finding:
    from narke._private import machine

    total = machine.memory_bytes()
    text = f"{total / 2**30:.1f} GiB for this process and its workers"
    if total < _SMALL_MEMORY_BYTES:
        return Finding("warning", "memory", text, "Give the container or control group 512 MiB or more.")
    return Finding("ok", "memory", text)


def _shared_memory() -> Finding:
    try:
        fd = os.memfd_create("narke-doctor")
    except OSError as error:
        return Finding(
            "error", "shared memory", f"memfd_create: {error}", "Use Linux 3.17 or later; allow memfd_create."
        )
    try:
        os.ftruncate(fd, 1 << 20)
        os.pwrite(fd, b"x", 0)
    except OSError as error:
        return Finding(
            "error", "shared memory", str(error), "Free memory, or raise the control group's limit."
        )
    finally:
        os.close(fd)
    return Finding("ok", "shared memory", "memfd_create works; /dev/shm is not needed")


def _sessions_folder() -> Finding:
    from narke._private import sessions_dir

    try:
        path = sessions_dir.base_dir()
    except OSError as error:
        return Finding("error", "sessions", str(error), "Set RAY_TMPDIR to a short path of your own.")
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o022:
        return Finding(
            "error", "sessions", f"others may write to {path} ({mode:o})", f"Run `chmod 700 {path}`."
        )
    if not os.access(path, os.W_OK):
        return Finding(
            "error", "sessions", f"{path} cannot be written", "Set RAY_TMPDIR to a folder of your own."
        )
    return Finding("ok", "sessions", path)


def _disk() -> Finding:
    from narke._private import sessions_dir

    path = sessions_dir.base_dir()
    use = shutil.disk_usage(path)
    text = (
        f"{use.free / 2**30:.1f} of {use.total / 2**30:.1f} GiB free for logs and spilled objects at {path}"
    )
    if use.free < _SMALL_DISK_BYTES or use.free < use.total * _SMALL_DISK_SHARE:
        return Finding("warning", "disk", text, "Free some, or set RAY_TMPDIR to a folder of a larger disk.")
    return Finding("ok", "disk", text)


def _ports() -> Finding:
    taken = [port for port in (6379, 8265) if not _is_free(port)]
    if not taken:
        return Finding("ok", "ports", "6379 and 8265 are free")
    from narke._private.cli.stop import running_nodes

    own = {info.get("dashboard_port") for info in running_nodes()}
    own |= {
        int(str(info.get("address", "")).rpartition(":")[2] or 0)
        for info in running_nodes()
        if ":" in str(info.get("address"))
    }
    foreign = [port for port in taken if port not in own]
    if not foreign:
        return Finding("ok", "ports", f"{', '.join(map(str, taken))}: used by clusters of this user")
    text = f"another program listens on {', '.join(map(str, foreign))}"
    return Finding(
        "warning", "ports", text, "Give `narke start` another --port; the dashboard takes the next free one."
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _clock() -> Finding:
    # struct timex is 208 bytes on 64-bit Linux; all zero asks without changing anything.
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
    if state == _UNSYNCHRONIZED:
        return Finding(
            "warning",
            "clock",
            "the kernel's clock is not kept right",
            "Run an NTP service (chrony, systemd-timesyncd): certificates and times of several hosts depend on it.",
        )
    return Finding("ok", "clock", "kept right" if state >= 0 else "its state cannot be asked for here")


# ---- the cluster -------------------------------------------------------------------------------------------


def check_cluster(address: str | None) -> list[Finding]:
    """How the cluster of this machine is; one finding when there is none."""
    from narke._private.cli.connection import CommandError, connected, session_of

    try:
        folder = session_of(address)
    except CommandError as error:
        return [Finding("ok" if address is None else "error", "cluster", str(error))]
    found = [_token(folder)]
    try:
        with connected(address):
            found += _nodes()
    except Exception as error:  # whatever it is, it is the finding
        return [*found, Finding("error", "cluster", str(error), f"Look into {folder}/logs/narke-node.log.")]
    return [*found, _gateway(folder)]


def _token(folder: str) -> Finding:
    path = os.path.join(folder, "token")
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o077:
        return Finding(
            "error",
            "token",
            f"others may read {path} ({mode:o})",
            f"Run `chmod 600 {path}`; begin a new cluster.",
        )
    size = os.path.getsize(path)
    if size < 16:
        return Finding("warning", "token", f"it has {size} characters only", "Use 32 random ones or more.")
    return Finding("ok", "token", f"{path}, for its owner only")


def _nodes() -> list[Finding]:
    from narke._private import control, state

    nodes: list[dict[str, Any]] = state.nodes()
    dead = [node for node in nodes if not node["Alive"]]
    found = [Finding("ok", "nodes", f"{len(nodes) - len(dead)} alive")]
    if dead:
        names = ", ".join(
            f"{node['NodeManagerAddress']} ({node.get('DeathReasonMessage') or 'gone'})" for node in dead[:3]
        )
        found.append(
            Finding("warning", "nodes", f"{len(dead)} gone: {names}", "Start them again with `narke start`.")
        )
    stuck = [row for row in state.pending_demand() if row["infeasible"]]
    if stuck:
        shapes = ", ".join(str(row["shape"]) for row in stuck[:3])
        found.append(
            Finding(
                "warning",
                "demand",
                f"never to be met as things are: {shapes}",
                "Add a node that has it, or ask for less.",
            )
        )
    stats = control.call("store_stats")
    share = stats["used_bytes"] / max(1, stats["capacity_bytes"])
    text = f"{share:.0%} of the object store in use"
    found.append(
        Finding("warning", "objects", text, "See `narke memory`.")
        if share > 0.9
        else Finding("ok", "objects", text)
    )
    return found


def _gateway(folder: str) -> Finding:
    from narke._private import sessions_dir
    from narke._private.http_client import HttpClient

    url = sessions_dir.read_info(folder).get("dashboard_url")
    if not url:
        return Finding("ok", "dashboard", "this cluster has none")
    try:
        reply = HttpClient(f"http://{url}").request("GET", "/api/gcs_healthz", timeout_s=10)
    except ConnectionError as error:
        return Finding("error", "dashboard", str(error), f"Look into {folder}/logs/gateway.err.")
    if reply.status != 200:
        return Finding(
            "error",
            "dashboard",
            f"http://{url} answers {reply.status}",
            f"Look into {folder}/logs/gateway.err.",
        )
    return Finding("ok", "dashboard", f"http://{url}")
