"""A head that is killed and started again: nodes, drivers, actors and groups go on."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest

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


def wait_for(condition, what: str, seconds: float = 30.0) -> None:
    """Return once `condition()` is true; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: this did not come about within {seconds} s"
        time.sleep(0.02)


class Host:
    """Nodes started by the command line, in a folder of their own."""

    def __init__(self, folder) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.started: list[subprocess.Popen] = []

    def start(self, *words: str) -> subprocess.Popen:
        command = [
            *NARKE,
            "start",
            "--block",
            "--node-ip-address=127.0.0.1",
            f"--temp-dir={self.folder}",
            *words,
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.started.append(process)
        line = process.stdout.readline()
        assert "started" in line or "goes on" in line, line + process.stdout.read()
        return process

    def head(self) -> subprocess.Popen:
        return self.start("--head", f"--port={self.port}", "--num-cpus=0")

    def member(self) -> str:
        """Start a node with 2 CPUs; returns its session's folder."""
        before = set(os.listdir(self.folder))
        self.start(f"--address={self.address}", "--num-cpus=2")
        [name] = {each for each in set(os.listdir(self.folder)) - before if each.startswith("session_")}
        return os.path.join(self.folder, name)

    def kill_head(self) -> None:
        path = os.path.realpath(os.path.join(self.folder, "ports", str(self.port)))
        os.kill(sessions_dir.read_info(path)["node_pid"], signal.SIGKILL)
        self.started[0].wait(20)

    def stop(self) -> None:
        for process in reversed(self.started):
            process.terminate()
        for process in self.started:
            process.wait(30)
            process.stdout.close()


@pytest.fixture
def host():
    with tempfile.TemporaryDirectory(prefix="nk-") as folder:  # short: sockets lie in it
        made = Host(folder)
        yield made
        made.stop()


def test_everything_goes_on_when_the_head_is_killed_and_started_again(host, tmp_path):
    host.head()
    member = host.member()
    program = tmp_path / "driver.py"
    program.write_text(DRIVER)
    driver = subprocess.Popen(
        [sys.executable, str(program), member, "2000"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout.readline().split(maxsplit=1)[0] == "ready", driver.stderr.read()
    host.kill_head()
    log = pathlib.Path(member, "logs", "narke-node.log")
    wait_for(lambda: "the head is away" in log.read_text(), what="the member misses the head")
    host.head()
    out, err = driver.communicate("go\n", timeout=90)
    assert out.strip() == "after [2, 2, 1]", err
    check = tmp_path / "check.py"
    check.write_text(
        "import sys, narke as ray\n"
        "from narke.util import get_placement_group\n"
        "ray.init(address=sys.argv[1], namespace='n', log_to_driver=False)\n"
        "print(ray.get(ray.get_actor('kept').add.remote()), get_placement_group('group').bundle_count,\n"
        "      len([n for n in ray.nodes() if n['Alive']]))\n"
    )
    done = subprocess.run([sys.executable, str(check), member], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["3", "1", "2"], done.stderr


def test_a_head_that_was_stopped_is_not_taken_up_again(host):
    first = host.head()
    path = os.path.realpath(os.path.join(host.folder, "ports", str(host.port)))
    first.terminate()
    first.wait(20)
    assert not os.path.exists(os.path.join(path, "journal.db"))
    host.head()
    assert os.path.realpath(os.path.join(host.folder, "ports", str(host.port))) != path


def test_a_node_without_the_token_is_refused(host):
    host.head()
    command = [*NARKE, "start", f"--address={host.address}", f"--temp-dir={host.folder}", "--num-cpus=1"]
    env = {**os.environ, "NARKE_AUTH_TOKEN": "f" * 64}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 1
    assert "could not be joined" in done.stderr and host.address in done.stderr


def test_a_port_in_use_is_named(host):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", host.port))
        taken.listen()
        command = [*NARKE, "start", "--head", f"--port={host.port}", f"--temp-dir={host.folder}"]
        done = subprocess.run(
            [*command, "--node-ip-address=127.0.0.1"], capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 1
    assert str(host.port) in done.stderr and "--port" in done.stderr
