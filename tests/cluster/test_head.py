"""A head that is killed and started again: nodes, drivers, actors and groups go on."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys
import time

from command_line import start_driver


def wait_for(condition, what: str, seconds: float = 30.0) -> None:
    """Return once `condition()` is true; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: this did not come about within {seconds} s"
        time.sleep(0.02)


def test_everything_goes_on_when_the_head_is_killed_and_started_again(host, tmp_path):
    host.head()
    member = host.member()
    driver = start_driver(tmp_path, member, 2000)
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
    path = host.head_session()
    first.terminate()
    first.wait(20)
    assert not os.path.exists(os.path.join(path, "journal.db"))
    host.head()
    assert host.head_session() != path


def test_a_node_without_the_token_is_refused(host):
    host.head()
    done = host.try_to_start(f"--address={host.address}", "--num-cpus=1", NARKE_AUTH_TOKEN="f" * 64)
    assert done.returncode == 1
    assert "could not be joined" in done.stderr and host.address in done.stderr


def test_a_port_in_use_is_named(host):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", host.port))
        taken.listen()
        done = host.try_to_start("--head", f"--port={host.port}")
    assert done.returncode == 1
    assert str(host.port) in done.stderr and "--port" in done.stderr
