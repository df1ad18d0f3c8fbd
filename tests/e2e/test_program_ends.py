"""However a program ends, nothing of it is left."""

import os
import pathlib
import signal

import pytest
from driving import node_of
from waiting import wait_for

BLOCKED = """
import subprocess, time, narke
context = narke.init(address="local", num_cpus=2, include_dashboard=False)

@narke.remote
def sleep():
    child = subprocess.Popen(["sleep", "600"]).pid
    print_child(child)
    time.sleep(600)

@narke.remote(num_cpus=0)
class Idle:
    def ready(self):
        return True

def print_child(child):
    open({folder!r} + f"/child-{{child}}", "w").close()

idle = Idle.remote()
narke.get(idle.ready.remote())
print("session", context.address_info["session_dir"])
ref = sleep.remote()
try:
    narke.get(ref)
except narke.exceptions.RayError as error:
    print("raised", type(error).__name__, str(error).replace(chr(10), " "))
"""


@pytest.fixture
def blocked(start, tmp_path):
    """A driver blocked in get, with a sleeping task that started a child, and an idle actor."""
    driver = start(BLOCKED.format(folder=str(tmp_path)))
    driver.session = pathlib.Path(driver.said("session"))
    wait_for(lambda: list(tmp_path.glob("child-*")), what="the task's child")
    return driver


def temporary_files(session):
    """Sockets and spilled objects left in a session's folder."""
    if not session.exists():
        return []
    return [path for path in session.rglob("*") if path.is_socket() or path.suffix == ".spill"]


class TestProgramEnds:
    def test_node_killed(self, blocked):
        os.kill(node_of(blocked.pid), signal.SIGKILL)
        name, _, text = blocked.said("raised", timeout_s=20).partition(" ")
        assert name in ("RaySystemError", "LocalRayletDiedError", "NodeDiedError")
        assert "node" in text
        blocked.ended()
        blocked.leaves_nothing()

    def test_node_killed_while_tasks_flow(self, start):
        driver = start("""
import narke
narke.init(address="local", num_cpus=2, include_dashboard=False)
identity = narke.remote(lambda value: value)
narke.get(identity.remote(1))
print("flowing yes")
try:
    while True:
        narke.get([identity.remote(i) for i in range(50)])
except narke.exceptions.RayError as error:
    print("raised", type(error).__name__)
""")
        driver.said("flowing")
        os.kill(node_of(driver.pid), signal.SIGKILL)
        driver.said("raised", timeout_s=20)
        driver.ended()
        driver.leaves_nothing()

    def test_interrupted(self, blocked):
        blocked.send(signal.SIGINT)
        assert blocked.ended() in (-signal.SIGINT, 1, 130)
        assert "KeyboardInterrupt" in blocked.errors
        blocked.leaves_nothing()
        assert not temporary_files(blocked.session)

    @pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
    def test_driver_killed(self, blocked, sign):
        blocked.send(sign)
        blocked.ended()
        blocked.leaves_nothing()
        wait_for(lambda: not temporary_files(blocked.session), what="an empty session folder")

    @pytest.mark.parametrize(
        "last", ["", "narke.shutdown()", "1 / 0", "raise SystemExit(3)", "import os; os._exit(4)"]
    )
    def test_ends_by_itself(self, start, last):
        driver = start(f"""
import narke
context = narke.init(address="local", num_cpus=2, include_dashboard=False)
print("session", context.address_info["session_dir"])
print("value", narke.get(narke.remote(lambda: 5).remote()))
{last}
""")
        session = pathlib.Path(driver.said("session"))
        assert driver.said("value") == "5"
        driver.ended()
        driver.leaves_nothing()
        wait_for(lambda: not temporary_files(session), what="an empty session folder")

    def test_ends_with_tasks_in_flight(self, start):
        driver = start("""
import time, narke
narke.init(address="local", num_cpus=2, include_dashboard=False)
sleep = narke.remote(lambda: time.sleep(600))
refs = [sleep.remote() for _ in range(500)]
narke.wait(refs, timeout=0.5)
print("submitted", len(refs))
""")
        driver.said("submitted")
        assert driver.ended() == 0
        driver.leaves_nothing()


class TestTwoDrivers:
    COUNT = """
import narke, pathlib, time
narke.init(address="local", num_cpus=2, include_dashboard=False)
square = narke.remote(lambda value: value * value)
print("first", sum(narke.get([square.remote(i) for i in range(100)])))
while not pathlib.Path({gate!r}).exists():
    time.sleep(0.02)
print("second", sum(narke.get([square.remote(i) for i in range(100)])))
"""

    def test_do_not_disturb_each_other(self, start, tmp_path):
        gate = tmp_path / "gate"
        one, two = (start(self.COUNT.format(gate=str(gate))) for _ in range(2))
        assert one.said("first") == two.said("first") == "328350"
        one.send(signal.SIGKILL)
        one.ended()
        one.leaves_nothing()
        gate.touch()
        assert two.said("second") == "328350"
        assert two.ended() == 0
        two.leaves_nothing()


IDLE_WORKER = """
import narke
narke.init(address="local", num_cpus=1, include_dashboard=False)

@narke.remote
def folder():
    import multiprocessing.util
    return multiprocessing.util.get_temp_dir()

print("folder", narke.get(folder.remote()))
"""


def test_workers_clean_up_when_their_driver_ends(start, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    driver = start(IDLE_WORKER)
    folder = pathlib.Path(driver.said("folder"))
    assert folder.parent == tmp_path
    wait_for(lambda: not folder.exists(), what="the end of the worker's temporary folder")
