"""Starts the node process of this machine."""

from __future__ import annotations

import os
import platform
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from narke._private import sessions_dir

__all__ = ["DashboardOptions", "NodeOptions", "NodeProcess", "start_node"]

_START_DEADLINE_S = float(os.environ.get("NARKE_NODE_START_TIMEOUT_S", "30"))
_STOP_DEADLINE_S = 5.0
# Not `python -m`: that would look for the standard library's modules in the current directory first.
_ZYGOTE = "import sys; del sys.path[0]; from narke._private import zygote; sys.exit(zygote.main(sys.argv))"


class DashboardOptions(NamedTuple):
    """Where a node serves its REST interface, dashboard and metrics.

    Attributes:
        host: address to listen on.
        port: port of the dashboard; None for 8265 or the next free one.
        metrics_port: port of the metrics; 0 for any free one.
        eager: start the gateway with the node and not with the first request.
        agent_port: a second port for the REST interface, 0 for any free one; None for none.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    metrics_port: int = 0
    eager: bool = False
    agent_port: int | None = None

    def arguments(self) -> list[str]:
        """The words of the node's command line."""
        words = ["--dashboard-host", self.host, "--metrics-port", str(self.metrics_port)]
        if self.port is not None:
            words += ["--dashboard-port", str(self.port)]
        if self.agent_port is not None:
            words += ["--agent-port", str(self.agent_port)]
        return [*words, "--dashboard-eager"] if self.eager else words


class NodeOptions(NamedTuple):
    """What a node is started with.

    Attributes:
        session_dir: its folder.
        resources: name to amount.
        object_store_bytes: size of the object store.
        labels: key to value.
        address: this machine's address.
        owner_pid: the driver it ends with; None to live until stopped.
        port: where it listens for other hosts, 0 for any free port; None: it does not.
        bind: the address it listens on; `address` by default.
        join: ``host:port`` of the head whose cluster it joins; None to begin one.
        spill_dir: folder of its own for objects when memory is short; ``spill`` of its session by default.
        spill_storage: storage for them that all nodes reach, as `spill_storage.describe` says it; None for none, or
            for what the head tells.
        journal: file or redis:// address where a head keeps the cluster's state; None to keep none.
        new_journal: what is there already is not gone on with.
        dashboard: where to serve HTTP; None for nowhere.
        tls: which links are encrypted: "auto" (those that leave the host), "on" or "off"; None for $NARKE_TLS, or
            else "auto".
        tls_cert, tls_key: files for HTTPS; None for a certificate of the cluster's own.
        client_port: a second port for programs outside of the cluster's network, if it is free.
        grace_ms: the node is such a program's, whose line to the head may be broken for so long; None: it is not.
    """

    session_dir: str
    resources: dict[str, float]
    object_store_bytes: int
    labels: dict[str, str] | None = None
    address: str = "127.0.0.1"
    owner_pid: int | None = None
    port: int | None = None
    bind: str | None = None
    join: str | None = None
    spill_dir: str | None = None
    spill_storage: str | None = None
    journal: str | None = None
    new_journal: bool = False
    dashboard: DashboardOptions | None = None
    tls: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    client_port: int | None = None
    grace_ms: int | None = None

    def arguments(self) -> list[str]:
        """The command line after the program's name."""
        words = ["--session-dir", self.session_dir, "--object-store-memory", str(self.object_store_bytes)]
        for name, amount in self.resources.items():
            words += ["--resource", f"{name}={amount:.4f}"]
        words += ["--python", sys.executable, "--python-path", package_root(), "--address", self.address]
        for word in (sys.executable, "-c", _ZYGOTE):
            words += ["--zygote", word]
        if self.labels:
            words += ["--labels", ",".join(f"{key}={value}" for key, value in self.labels.items())]
        if self.owner_pid is not None:
            words += ["--owner-pid", str(self.owner_pid)]
        for option, value in (
            ("--port", self.port),
            ("--bind", self.bind),
            ("--join", self.join),
            ("--spill-dir", self.spill_dir),
            ("--journal", None if self._journal_is_secret() else self.journal),
            ("--tls", self.tls or os.environ.get("NARKE_TLS") or None),
            ("--tls-cert", self.tls_cert),
            ("--tls-key", self.tls_key),
            ("--client-port", self.client_port),
            ("--grace-ms", self.grace_ms),
            ("--python-version", platform.python_version()),
        ):
            if value is not None:
                words += [option, str(value)]
        if self.grace_ms is not None:
            words.append("--outside")
        if self.new_journal:
            words.append("--new-journal")
        if self.dashboard is not None:
            words += self.dashboard.arguments()
        return words

    def _journal_is_secret(self) -> bool:
        return self.journal is not None and "://" in self.journal

    def environment(self) -> dict[str, str]:
        """The node's environment: what others may not read on its command line goes there."""
        secret = ("NARKE_JOURNAL", "NARKE_SPILL_STORAGE")
        env = {name: value for name, value in os.environ.items() if name not in secret}
        if self.spill_storage is not None:
            env["NARKE_SPILL_STORAGE"] = self.spill_storage
        if self.journal is not None and self._journal_is_secret():
            env["NARKE_JOURNAL"] = self.journal
        return env


def package_root() -> str:
    """The folder that holds the package, for the path of workers."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def program() -> str:
    """Path of the node's program.

    Raises:
        RuntimeError: it is not there.
    """
    path = os.environ.get("NARKE_NODE") or os.path.join(package_root(), "narke", "bin", "narke-node")
    if not os.access(path, os.X_OK):
        raise RuntimeError(f"The program narke-node is missing at {path}: build it, or install the wheel")
    return path


class NodeProcess:
    """A node this program started.

    Args:
        process: the running process.
        options: what it was started with.

    Attributes:
        dashboard_port, metrics_port, agent_port: where it serves HTTP; 0 for nowhere.
    """

    def __init__(self, process: subprocess.Popen[bytes], options: NodeOptions) -> None:
        self.process = process
        self.options = options
        self.dashboard_port = 0
        self.metrics_port = 0
        self.agent_port = 0

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def read_ready(self, said: str) -> None:
        """Take what it said when it was ready."""
        facts = dict(word.split("=", 1) for word in said.split() if "=" in word)
        self.dashboard_port = int(facts.get("dashboard", 0))
        self.metrics_port = int(facts.get("metrics", 0))
        self.agent_port = int(facts.get("agent", 0))

    def dashboard_info(self) -> dict[str, Any]:
        """The facts of the gateway for the session's info.json; {} without one. A node that is not the head has no
        dashboard: its port takes questions about this host."""
        if not self.dashboard_port or self.options.dashboard is None:
            return {}
        if self.options.join is not None:
            return {"agent_port": self.dashboard_port, "metrics_port": self.metrics_port}
        host = self.options.dashboard.host
        shown = self.options.address if host in ("0.0.0.0", "::", "") else host
        return {
            "dashboard_url": f"{shown}:{self.dashboard_port}",
            "dashboard_port": self.dashboard_port,
            "metrics_port": self.metrics_port,
            **({"agent_port": self.agent_port} if self.agent_port else {}),
        }

    def stop(self, *, wait: bool) -> None:
        """Ask it to end, and force it after a few seconds.

        Args:
            wait: return only when the process is gone.
        """
        self.process.terminate()
        if not wait and not _is_dying(self.pid) and self.process.poll() is None:
            return
        try:
            self.process.wait(_STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        sessions_dir.remove_spilled(self.options.session_dir)  # that of one which was killed


_EXITING_FLAG = 0x4  # PF_EXITING of the kernel's task flags, see proc(5) and linux/sched.h
_KILL_BIT = 1 << (signal.SIGKILL - 1)


def _is_dying(pid: int) -> bool:
    """Whether a process was killed, although it is not gone yet: giving back a store's memory takes a while."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            flags = int(file.read().rpartition(")")[2].split()[6])
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            pending = next(int(line.split()[1], 16) for line in file if line.startswith("ShdPnd:"))
    except (OSError, StopIteration):
        return False
    return bool(flags & _EXITING_FLAG or pending & _KILL_BIT)


def start_node(options: NodeOptions, meanwhile: Callable[[], object] = lambda: None) -> NodeProcess:
    """Start a node and wait until it serves.

    Args:
        options: what to start it with.
        meanwhile: what to do while it starts.

    Raises:
        RuntimeError: it ended or did not become ready in time; the text holds its last output.
    """
    logs = os.path.join(options.session_dir, "logs")
    os.makedirs(logs, mode=0o700, exist_ok=True)
    reader, writer = os.pipe()
    errors = os.path.join(logs, "node.err")
    try:
        with open(os.path.join(logs, "node.out"), "ab") as out, open(errors, "ab") as err:
            process = subprocess.Popen(
                [program(), *options.arguments(), "--ready-fd", str(writer)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                pass_fds=(writer,),
                env=options.environment(),
                start_new_session=True,  # Ctrl-C in the driver's terminal must not end it before the driver
            )
    finally:
        os.close(writer)
    node = NodeProcess(process, options)
    try:
        meanwhile()
        node.read_ready(_await_ready(reader, process, errors))
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        os.close(reader)
    return node


def _await_ready(reader: int, process: subprocess.Popen[bytes], errors: str) -> str:
    deadline = time.monotonic() + _START_DEADLINE_S
    said = b""
    while not said.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            raise RuntimeError(
                f"The node did not become ready within {_START_DEADLINE_S:g} s.{_last_words(errors)}"
            )
        piece = os.read(reader, 4096)
        if not piece:
            status = process.wait(_STOP_DEADLINE_S)
            raise RuntimeError(
                f"The node ended with status {status} before it was ready.{_last_words(errors)}"
            )
        said += piece
    if not said.startswith(b"ready"):
        process.wait(_STOP_DEADLINE_S)
        raise RuntimeError(said.decode(errors="replace").removeprefix("error ").strip())
    return said.decode(errors="replace")


def _last_words(path: str) -> str:
    try:
        with open(path, "rb") as file:
            text = file.read()[-2000:].decode(errors="replace").strip()
    except OSError:
        text = ""
    return f" Its last words ({path}): {text}" if text else f" It said nothing in {path}."


def describe(options: NodeOptions) -> dict[str, Any]:
    """The options as they are written into the session's info.json."""
    return {
        "resources": options.resources,
        "object_store_memory": options.object_store_bytes,
        "labels": options.labels,
    }
