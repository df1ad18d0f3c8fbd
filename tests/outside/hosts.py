"""Hosts as network namespaces, and processes in them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

_numbers = iter("abcdefghijklmnopqrstuvwxyz")  # of the networks of this process
TOKEN = "0123456789abcdef" * 4
PORT = 6379
HEAD, WORKER, GATE, GATE_OUT, AWAY = "10.212.0.1", "10.212.0.2", "10.212.0.9", "10.213.0.1", "10.213.0.2"
NARKE = [
    sys.executable,
    "-c",
    "import sys; from narke._cli import main; sys.argv[0] = 'narke'; sys.exit(main())",
]
# Passes one port on, byte by byte, until it is ended.
FORWARDER = """
import asyncio, sys
async def copy(reader, writer):
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
async def serve(reader, writer):
    try:
        far_reader, far_writer = await asyncio.open_connection(sys.argv[2], int(sys.argv[3]))
    except OSError:
        return writer.close()
    await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
async def main():
    server = await asyncio.start_server(serve, sys.argv[1], int(sys.argv[3]))
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def can_make_namespaces() -> bool:
    """Whether this user may, and `ip` is here."""
    name = f"nkprobe{os.getpid()}"
    try:
        made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return made


def sh(*words: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(words, check=True)


class Host:
    """A namespace, with a folder for sessions of its own."""

    def __init__(self, name: str, folder: str) -> None:
        self.name = name
        self.folder = folder
        self.inside = ["ip", "netns", "exec", name]
        self.started: list[subprocess.Popen[str]] = []

    def environment(self, **variables: str) -> dict[str, str]:
        """The variables of a program of this host."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "NARKE_"))}
        return {
            **kept,
            "RAY_TMPDIR": self.folder,
            "NARKE_AUTH_TOKEN": TOKEN,
            "HOME": self.folder,
            **variables,
        }

    def popen(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """Start a program; it is ended with the host."""
        process = subprocess.Popen(
            [*self.inside, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(**variables),
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, *words: str, timeout: float = 90, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        command = [*self.inside, *words]
        environment = self.environment(**variables)
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)

    def python(self, program: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a Python program, given as text."""
        path = Path(self.folder) / f"program{len(os.listdir(self.folder))}.py"
        path.write_text(program)
        return self.run(sys.executable, str(path), *words, **variables)

    def narke(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """Start `narke ...` and wait for its first line."""
        process = self.popen(*NARKE, *words, **variables)
        line = process.stdout.readline()
        assert "started" in line, line + process.stderr.read()
        return process

    def end(self) -> None:
        """End what was started here, and wait for it."""
        for process in reversed(self.started):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(20)
            for pipe in (process.stdin, process.stdout, process.stderr):
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self.started.clear()


class Network:
    """All hosts; `outer` is the name of this machine's end of a host's link to the bridge."""

    def __init__(self, hosts: dict[str, Host], outer: dict[str, str]) -> None:
        self.head, self.worker, self.gate, self.away = (hosts[n] for n in ("head", "worker", "gate", "away"))
        self.outer = outer
        self._forwarder: subprocess.Popen[str] | None = None

    def start_head(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """Start the head, with one CPU."""
        place = [f"--node-ip-address={HEAD}", f"--port={PORT}", "--num-cpus=1", "--block"]
        return self.head.narke("start", "--head", *place, *words, **variables)

    def start_worker(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """Start a node with two CPUs and a resource `far`."""
        place = [f"--address={HEAD}:{PORT}", f"--node-ip-address={WORKER}", "--num-cpus=2", "--block"]
        return self.worker.narke("start", *place, '--resources={"far": 2}', *words, **variables)

    def plug_in(self) -> None:
        """Let `away` reach the head's port by that of `gate`."""
        self._forwarder = self.gate.popen(sys.executable, "-c", FORWARDER, GATE_OUT, HEAD, str(PORT))
        assert self._forwarder.stdout.readline() == "ready\n"

    @contextlib.contextmanager
    def broken(self) -> Iterator[None]:
        """Nothing passes there meanwhile, and what did has ended."""
        self._forwarder.kill()
        self._forwarder.wait()
        try:
            yield
        finally:
            self.plug_in()

    def end(self) -> None:
        """End all programs."""
        for host in (self.away, self.gate, self.worker, self.head):
            host.end()


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """The four hosts of README.md."""
    if not can_make_namespaces():
        pytest.skip("network namespaces cannot be made here: needs root and iproute2")
    tag = f"{os.getpid()}{next(_numbers)}"
    bridge = f"nkb{tag}"
    names = {role: f"nk{role}{tag}" for role in ("head", "worker", "gate", "away")}
    outer: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        stack.callback(_forget, bridge, list(names.values()))
        sh("ip", "link", "add", bridge, "type", "bridge")
        sh("ip", "link", "set", bridge, "up")
        for name in names.values():
            sh("ip", "netns", "add", name)
            sh("ip", "netns", "exec", name, "ip", "link", "set", "lo", "up")
        for role, address in (("head", HEAD), ("worker", WORKER), ("gate", GATE)):
            outer[role] = f"v{role[0]}{tag}"
            _link(outer[role], names[role], "eth0", f"{address}/24")
            sh("ip", "link", "set", outer[role], "master", bridge, "up")
        sh(
            "ip",
            "link",
            "add",
            "eth1",
            "netns",
            names["gate"],
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            names["away"],
        )
        for role, device, address in (("gate", "eth1", GATE_OUT), ("away", "eth0", AWAY)):
            inside = ["ip", "netns", "exec", names[role]]
            sh(*inside, "ip", "addr", "add", f"{address}/24", "dev", device)
            sh(*inside, "ip", "link", "set", device, "up")
        hosts = {
            role: Host(name, stack.enter_context(tempfile.TemporaryDirectory(prefix="nk-")))
            for role, name in names.items()
        }
        made = Network(hosts, outer)
        try:
            yield made
        finally:
            made.end()


def _link(outer: str, namespace: str, device: str, address: str) -> None:
    sh("ip", "link", "add", outer, "type", "veth", "peer", "name", device, "netns", namespace)
    inside = ["ip", "netns", "exec", namespace]
    sh(*inside, "ip", "addr", "add", address, "dev", device)
    sh(*inside, "ip", "link", "set", device, "up")


def _forget(bridge: str, names: Sequence[str]) -> None:
    for name in names:
        subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)
    subprocess.run(["ip", "link", "del", bridge], check=False, stderr=subprocess.DEVNULL)


class Listener:
    """Reads all frames that pass a network device of this machine."""

    def __init__(self, device: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        self._socket.bind((device, 0))
        self._socket.setblocking(False)

    def heard(self) -> bytes:
        """Everything since the last time."""
        pieces = []
        with contextlib.suppress(BlockingIOError):
            while True:
                pieces.append(self._socket.recv(1 << 17))
        return b"".join(pieces)

    def close(self) -> None:
        """Stop."""
        self._socket.close()


def until(condition, seconds: float = 30.0):
    """What `condition` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
    return found
