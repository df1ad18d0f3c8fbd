"""Driver programs as child processes, and the processes that descend from them."""

import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid

from waiting import is_running, wait_for

MARK = "NARKE_E2E_MARK"


def processes_with(text):
    """The ids of running processes, other than this one, that have `text` in their environment or command."""
    needle, found = text.encode(), []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            holds = needle in (folder / "environ").read_bytes() or needle in (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if holds and int(folder.name) != os.getpid() and is_running(int(folder.name)):
            found.append(int(folder.name))
    return found


def _by_parent():
    children = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(folder.name))
    return children


def children_of(pid):
    """The ids of running processes that `pid` has started."""
    return [child for child in _by_parent().get(pid, []) if is_running(child)]


def descendants(pid):
    """The ids of all processes below `pid`."""
    children = _by_parent()
    found, open_ends = [], [pid]
    while open_ends:
        below = children.get(open_ends.pop(), [])
        found += below
        open_ends += below
    return found


def command(pid):
    """The command line of `pid`, or an empty text when it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def node_of(pid):
    """The node process below a driver."""
    return wait_for(
        lambda: next(
            (each for each in descendants(pid) if "narke-node" in command(each).split(" ")[0]), None
        ),
        what=f"a narke-node below process {pid}",
    )


def zygote_of(pid):
    """The process below a driver's node that forks its workers."""
    node = node_of(pid)
    return wait_for(
        lambda: next((each for each in descendants(node) if "zygote" in command(each)), None),
        what=f"a zygote below node {node}",
    )


def heed_signals():
    """In a program about to start: signals that whoever runs the tests ignores (nohup, a job in the background)."""
    for sign in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(sign, signal.SIG_DFL)


class Driver:
    """A program in a process of its own.

    It tells the test things by printing lines "name value"; `said(name)` waits for one. Everything that
    descends from it carries a mark in its environment, so that `left()` finds it even without its parent.
    """

    def __init__(self, path, source):
        path.write_text(source)
        self.mark = f"{MARK}={uuid.uuid4().hex}"
        name, value = self.mark.split("=")
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(path)],
            env={**os.environ, name: value},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_signals,
        )
        self.pid = self.process.pid
        self._lines = queue.Queue()
        self._errors = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._lines.put), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self._errors.append), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream, take):
        for line in stream:
            take(line.rstrip("\n"))

    @property
    def errors(self):
        """What it has written to stderr so far."""
        return "\n".join(self._errors)

    def said(self, name, timeout_s=30):
        """The value of the next line "name value"."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(
                    f"no line {name!r} within {timeout_s} s; stderr:\n{self.errors}"
                ) from None
            first, _, rest = line.partition(" ")
            if first == name:
                return rest

    def send(self, sign):
        """Send it a signal."""
        os.kill(self.pid, sign)

    def ended(self, timeout_s=30):
        """Its exit status, once it has ended."""
        status = self.process.wait(timeout_s)
        for reader in self._readers:
            reader.join(5)
        return status

    def left(self):
        """What still runs of it and of all it started."""
        return processes_with(self.mark)

    def leaves_nothing(self, timeout_s=15):
        """Wait until nothing of it runs."""
        wait_for(
            lambda: not self.left(), timeout_s, f"the end of {[(pid, command(pid)) for pid in self.left()]}"
        )

    def clear(self):
        """Kill whatever is left."""
        for pid in [*self.left(), self.pid]:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
