"""Nodes that are started by the command line, and a driver that is there when their head dies."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from narke._private import sessions_dir

NARKE = [sys.executable, "-m", "narke"]
DRIVER = """
import sys, time
import narke as ray
from narke.util import placement_group

ray.init(address=sys.argv[1], namespace="n", log_to_driver=False)

@ray.remote(num_cpus=0)
class Counter:
    def __init__(self): self.count = 0
    def add(self):
        self.count += 1
        return self.count

@ray.remote
def double(x):
    time.sleep(0.002)
    return 2 * x

kept = Counter.options(name="kept", lifetime="detached").remote()
mine = Counter.remote()
group = placement_group([{"CPU": 0.5}], name="group", lifetime="detached")
ray.get(group.ready(), timeout=20)
print("ready", ray.get([kept.add.remote(), mine.add.remote()]), flush=True)
refs = [double.remote(i) for i in range(int(sys.argv[2]))]
sys.stdin.readline()  # the head is killed and back again
assert sum(ray.get(refs, timeout=60)) == sum(range(int(sys.argv[2]))) * 2
late = Counter.remote()
print("after", ray.get([kept.add.remote(), mine.add.remote(), late.add.remote()], timeout=60), flush=True)
"""


class Host:
    """Nodes started by the command line, in a folder of their own."""

    def __init__(self, folder) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.started: list[subprocess.Popen] = []

    def start(self, *words: str, inside: Sequence[str] = (), address: str = "127.0.0.1") -> subprocess.Popen:
        command = [
            *inside,
            *NARKE,
            "start",
            "--block",
            f"--node-ip-address={address}",
            f"--temp-dir={self.folder}",
            *words,
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.started.append(process)
        line = process.stdout.readline()
        assert "started" in line or "goes on" in line, line + process.stdout.read()
        return process

    def head(self, *words: str) -> subprocess.Popen:
        return self.start("--head", f"--port={self.port}", "--num-cpus=0", *words)

    def try_to_start(self, *words: str, **env: str) -> subprocess.CompletedProcess:
        """What came of starting a node that is not expected to start."""
        command = [*NARKE, "start", "--node-ip-address=127.0.0.1", f"--temp-dir={self.folder}", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **env})

    def member(self) -> str:
        """Start a node with 2 CPUs; returns its session's folder."""
        before = set(os.listdir(self.folder))
        self.start(f"--address={self.address}", "--num-cpus=2")
        [name] = {each for each in set(os.listdir(self.folder)) - before if each.startswith("session_")}
        return os.path.join(self.folder, name)

    def head_session(self) -> str:
        """The folder of the head's session."""
        return os.path.realpath(os.path.join(self.folder, "ports", str(self.port)))

    def token(self) -> str:
        """A file with the cluster's token that outlives the head's session."""
        return shutil.copy(
            os.path.join(self.head_session(), "token"), os.path.join(self.folder, "kept-token")
        )

    def kill_head(self) -> None:
        os.kill(sessions_dir.read_info(self.head_session())["node_pid"], signal.SIGKILL)
        self.started[0].wait(20)

    def forget_head(self) -> None:
        """Remove what the head left on this machine."""
        shutil.rmtree(self.head_session())

    def stop(self) -> None:
        for process in reversed(self.started):
            process.terminate()
        for process in self.started:
            process.wait(30)
            process.stdout.close()


def start_driver(folder: pathlib.Path, address: str, tasks: int) -> subprocess.Popen:
    """The driver, when its tasks are under way; it goes on when it is sent a line."""
    program = folder / "driver.py"
    program.write_text(DRIVER)
    driver = subprocess.Popen(
        [sys.executable, str(program), address, str(tasks)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout.readline().split(maxsplit=1)[0] == "ready", driver.stderr.read()
    return driver
