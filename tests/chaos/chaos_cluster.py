"""The cluster that is hurt: a head, a home node for the program under load, and nodes that come and go.

The head has no CPUs and keeps its state; the home node is spared, since a program ends with its node. On loopback the
others join through a proxy each, so that their link to the head can be cut; on hosts of their own
their cable is pulled.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from chaos_disk import SmallDisk
from chaos_hosts import LOOPBACK, Hosts, Place
from chaos_proxy import Proxy
from command_line import Host

from narke._private import sessions_dir

__all__ = ["ChaosCluster", "Member"]


class Member:
    """A node that may be hurt.

    Attributes:
        launcher: the process of `narke start --block`.
        session: its folder.
        link: its link to the head, or to all others; None: it is not hurt.
        inside: words that a command on its host begins with.
    """

    def __init__(
        self, launcher: subprocess.Popen[str], session: str, link: Proxy | Place | None, place: Place
    ) -> None:
        self.launcher = launcher
        self.session = session
        self.link = link
        self.inside = place.inside

    @property
    def pid(self) -> int:
        """Of the daemon."""
        return int(sessions_dir.read_info(self.session)["node_pid"])

    @property
    def node_id(self) -> str:
        """Hex id of the node."""
        with open(os.path.join(self.session, "node_id"), encoding="ascii") as file:
            return file.read().strip()

    def workers(self) -> list[int]:
        """Pids of its worker processes: the children of its zygote."""
        zygotes = children_of(self.pid)
        return [worker for zygote in zygotes for worker in children_of(zygote)]


class ChaosCluster(Host):
    """See the module.

    Args:
        folder: for sessions; short, since sockets lie in it.
        volatile: how many nodes come and go.
        hosts: where each node gets a host of its own; None: all are on loopback.
    """

    def __init__(self, folder: str, volatile: int = 2, hosts: Hosts | None = None) -> None:
        super().__init__(folder)
        self._hosts = hosts
        self._head_place = self._place()
        self.address = f"{self._head_place.address}:{self.port}"
        self.head()
        self.home = self._join(self.address, None, self._place())
        self.volatile = [self.add_member() for _ in range(volatile)]
        self.disk: SmallDisk | None = None

    def _place(self) -> Place:
        return self._hosts.add() if self._hosts else LOOPBACK

    def head(self, *words: str) -> subprocess.Popen[str]:
        """Start the head at its place."""
        place = self._head_place
        return self.start(
            "--head",
            f"--port={self.port}",
            "--num-cpus=0",
            *words,
            inside=place.inside,
            address=place.address,
        )

    def add_member(self) -> Member:
        """A further node that may be hurt."""
        place = self._place()
        if self._hosts:
            return self._join(self.address, place, place)
        proxy = Proxy(self.address)
        return self._join(proxy.address, proxy, place)

    def _join(self, address: str, link: Proxy | Place | None, place: Place) -> Member:
        before = set(os.listdir(self.folder))
        words = (f"--address={address}", "--num-cpus=2", f"--token-file={self._token_file()}")
        launcher = self.start(*words, inside=place.inside, address=place.address)
        [name] = {each for each in set(os.listdir(self.folder)) - before if each.startswith("session_")}
        return Member(launcher, os.path.join(self.folder, name), link, place)

    def _token_file(self) -> str:
        return os.path.join(self.head_session(), "token")

    def head_pid(self) -> int:
        """Of the head's daemon."""
        return int(sessions_dir.read_info(self.head_session())["node_pid"])

    def restart_head(self) -> None:
        """Start the head again, at its address."""
        self.started.remove(self.started[0])
        self.head()
        self.started.insert(0, self.started.pop())

    def replace(self, member: Member) -> None:
        """End what is left of a member and start another in its place."""
        kill(member.pid)
        member.launcher.wait(30)
        member.launcher.stdout.close()
        self.started.remove(member.launcher)
        if member.link is not None:
            member.link.close()
        self.volatile.remove(member)
        self.volatile.append(self.add_member())

    def daemons(self) -> Iterator[tuple[str, int]]:
        """Names and pids of the daemons that were there from the beginning and still are."""
        yield "home", self.home.pid

    def stop(self) -> None:
        """End everything."""
        super().stop()
        for member in self.volatile:
            if member.link is not None:
                member.link.close()


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal; False when there is no such process."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def children_of(parent: int) -> list[int]:
    """The child processes of a process that are not dead."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                state, ppid = file.read().rpartition(")")[2].split()[:2]
        except OSError:  # it has just ended
            continue
        if int(ppid) == parent and state != "Z":
            found.append(int(name))
    return found


def processes_of(folder: str) -> list[tuple[int, str]]:
    """Pid and command line of the processes that have `folder` in their environment or command line."""
    wanted = folder.encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                command = file.read()
            with open(f"/proc/{name}/environ", "rb") as file:
                environment = file.read()
        except OSError:
            continue
        if wanted in command or wanted in environment:
            found.append((int(name), command.replace(b"\0", b" ").decode(errors="replace")))
    return found


def open_files(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def until(condition: Any, seconds: float) -> bool:
    """Whether it comes true within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
