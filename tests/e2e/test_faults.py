"""What dies, what is left, and what the program is told."""

import os
import pathlib
import signal
import subprocess

import numpy as np
import pytest
from driving import descendants, node_of, zygote_of
from waiting import hold, is_running, mark, marks, wait_for

import narke
from narke.exceptions import (
    ActorDiedError,
    ObjectLostError,
    OwnerDiedError,
    RayActorError,
    WorkerCrashedError,
)


@pytest.fixture(scope="module")
def cluster():
    """A local cluster of 2 CPUs for the faults that it must survive."""
    context = narke.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield context
    narke.shutdown()
    wait_for(lambda: not descendants(os.getpid()), what="the end of the cluster's processes")


def report_pid(folder):
    (pathlib.Path(folder) / f"pid-{os.getpid()}").touch()


def reported_pid(folder):
    """The process id that the latest `report_pid` left in `folder`."""
    return wait_for(
        lambda: next(
            (int(path.name.removeprefix("pid-")) for path in pathlib.Path(folder).glob("pid-*")), None
        ),
        what="a worker's report",
    )


@narke.remote(max_retries=0)
def report_and_hold(folder):
    report_pid(folder)
    hold(pathlib.Path(folder) / "gate")
    return "through"


@narke.remote
def identity(value):
    return value


@narke.remote(num_cpus=0)
class Keeper:
    def keep(self, value):
        self.value = value
        return os.getpid()

    def make(self, size):
        self.ref = narke.put(np.ones(size))
        return [self.ref]

    def spawn(self):
        return os.getpid(), subprocess.Popen(["sleep", "600"]).pid

    def pid(self):
        return os.getpid()


@pytest.mark.usefixtures("cluster")
class TestWorkerKilled:
    def test_in_a_task(self, tmp_path):
        ref = report_and_hold.remote(tmp_path)
        os.kill(reported_pid(tmp_path), signal.SIGKILL)
        with pytest.raises(WorkerCrashedError):
            narke.get(ref, timeout=20)
        assert narke.get([identity.remote(i) for i in range(20)], timeout=30) == list(range(20))

    def test_in_a_task_with_retries(self, tmp_path):
        ref = report_and_hold.options(max_retries=1).remote(tmp_path)
        first = reported_pid(tmp_path)
        (tmp_path / f"pid-{first}").unlink()
        os.kill(first, signal.SIGKILL)
        assert reported_pid(tmp_path) != first
        (tmp_path / "gate").touch()
        assert narke.get(ref, timeout=30) == "through"

    def test_in_an_actor(self):
        keeper = Keeper.remote()
        os.kill(narke.get(keeper.pid.remote()), signal.SIGKILL)
        with pytest.raises(ActorDiedError, match="(?s)Keeper.*SIGKILL|signal 9"):
            for _ in range(100):
                narke.get(keeper.pid.remote(), timeout=20)

    def test_in_an_actor_that_restarts(self):
        keeper = Keeper.options(max_restarts=1, max_task_retries=-1).remote()
        first = narke.get(keeper.pid.remote())
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: not is_running(first), what="the first process's end")
        assert narke.get(keeper.pid.remote(), timeout=30) != first

    def test_while_it_holds_a_shared_array(self):
        before = narke.available_resources()["object_store_memory"]
        ref = narke.put(np.ones(4_000_000))
        keeper = Keeper.remote()
        os.kill(narke.get(keeper.keep.remote(ref)), signal.SIGKILL)
        with pytest.raises(RayActorError):
            for _ in range(100):
                narke.get(keeper.pid.remote(), timeout=20)
        assert narke.get(ref).sum() == 4_000_000
        del ref
        wait_for(
            lambda: narke.available_resources()["object_store_memory"] > before - 10_000_000,
            what="the release of what the dead worker held",
        )

    def test_while_it_is_blocked_in_get(self, tmp_path):
        (tmp_path / "inner").mkdir()
        inner = report_and_hold.remote(tmp_path / "inner")

        @narke.remote(max_retries=0)
        def wait_for_inner(refs):
            report_pid(tmp_path)
            return narke.get(refs[0])

        outer = wait_for_inner.remote([inner])
        pid = reported_pid(tmp_path)
        reported_pid(tmp_path / "inner")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerCrashedError):
            narke.get(outer, timeout=20)
        (tmp_path / "inner" / "gate").touch()
        assert narke.get(inner, timeout=30) == "through"

    def test_its_resources_return(self, tmp_path):
        ref = report_and_hold.options(num_cpus=2).remote(tmp_path)
        os.kill(reported_pid(tmp_path), signal.SIGKILL)
        with pytest.raises(WorkerCrashedError):
            narke.get(ref, timeout=20)
        assert narke.get(identity.options(num_cpus=2).remote(1), timeout=30) == 1

    def test_its_children_end_with_it(self):
        keeper = Keeper.remote()
        pid, child = narke.get(keeper.spawn.remote())
        assert is_running(child)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not is_running(child), what="the child's end")

    def test_while_many_are_queued(self, tmp_path):
        @narke.remote(max_retries=-1)
        def sometimes_die(number):
            if number % 10 == 0 and not marks(tmp_path, f"died{number}"):
                mark(tmp_path, f"died{number}")
                os.kill(os.getpid(), signal.SIGKILL)
            return number

        assert narke.get([sometimes_die.remote(i) for i in range(100)], timeout=60) == list(range(100))


@pytest.mark.usefixtures("cluster")
class TestZygoteKilled:
    def test_new_workers_still_start(self):
        keeper = Keeper.remote()
        old = narke.get(keeper.pid.remote())
        zygote = zygote_of(os.getpid())
        os.kill(zygote, signal.SIGKILL)
        wait_for(lambda: not is_running(zygote), what="the zygote's end")
        others = [Keeper.remote() for _ in range(3)]
        pids = narke.get([other.pid.remote() for other in others], timeout=60)
        assert len({old, *pids}) == 4
        assert narke.get([identity.remote(i) for i in range(10)], timeout=60) == list(range(10))


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


class TestStoreFull:
    SPILL = """
import numpy as np, pathlib, narke
context = narke.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100_000_000)
session = pathlib.Path(context.address_info["session_dir"])
arrays = [np.random.default_rng(i).integers(0, 2**62, 1_250_000) for i in range(40)]
refs = [narke.put(array) for array in arrays]
print("stored", len(refs))
print("spilled", bool(list(session.rglob("*.spill"))))
equal = sum(bool(np.array_equal(narke.get(ref), array)) for ref, array in zip(refs, arrays))
print("equal", equal)
total = narke.remote(lambda array: int(array[:1000].sum()))
sums = narke.get([total.remote(ref) for ref in refs])
print("sums", sum(one == int(array[:1000].sum()) for one, array in zip(sums, arrays)))
"""

    def test_spilled_objects_come_back_equal(self, start):
        driver = start(self.SPILL)
        assert driver.said("stored", timeout_s=60) == "40"
        assert driver.said("spilled") == "True"
        assert driver.said("equal", timeout_s=60) == "40"
        assert driver.said("sums", timeout_s=60) == "40"
        assert driver.ended() == 0
        driver.leaves_nothing()

    def test_an_object_larger_than_the_store(self, start):
        driver = start("""
import numpy as np, narke
narke.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=100_000_000)
try:
    narke.put(np.zeros(50_000_000))
except narke.exceptions.ObjectStoreFullError as error:
    print("raised", str(error).replace(chr(10), " "))
""")
        assert "400" in driver.said("raised", timeout_s=60)

    def test_pinned_objects_that_do_not_fit(self, start):
        driver = start("""
import numpy as np, narke
narke.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=100_000_000)
held = []
try:
    for _ in range(20):
        held.append(narke.get(narke.put(np.zeros(1_250_000))))
except narke.exceptions.ObjectStoreFullError:
    print("held", len(held))
held.clear()
print("again", int(narke.get(narke.put(np.ones(1_250_000))).sum()))
""")
        assert 5 <= int(driver.said("held", timeout_s=100)) < 10
        assert driver.said("again") == "1250000"


@pytest.mark.usefixtures("cluster")
class TestLostObjects:
    def test_is_made_again_by_its_task(self, tmp_path):
        from narke._private.testing import drop_object

        @narke.remote
        def make():
            mark(tmp_path)
            return np.ones(500_000)

        ref = make.remote()
        assert narke.wait([ref], timeout=30) == ([ref], [])
        drop_object(ref)
        assert narke.get(ref, timeout=30).sum() == 500_000
        assert len(marks(tmp_path)) == 2

    def test_is_made_again_with_what_it_needs(self, tmp_path):
        from narke._private.testing import drop_object

        @narke.remote
        def grow(array):
            mark(tmp_path)
            return array + 1

        refs = [narke.put(np.zeros(500_000))]
        for _ in range(3):
            refs.append(grow.remote(refs[-1]))
        assert narke.wait(refs[-1:], timeout=30) == (refs[-1:], [])
        for ref in refs[1:]:
            drop_object(ref)
        assert narke.get(refs[-1], timeout=30)[0] == 3
        assert len(marks(tmp_path)) == 6

    def test_what_was_put_cannot_be_made_again(self):
        from narke._private.testing import drop_object

        ref = narke.put(np.ones(500_000))
        drop_object(ref)
        with pytest.raises(ObjectLostError, match=ref.hex()):
            narke.get(ref, timeout=30)

    def test_without_retries_it_is_lost(self):
        from narke._private.testing import drop_object

        ref = narke.remote(max_retries=0)(lambda: np.ones(500_000)).remote()
        assert narke.wait([ref], timeout=30) == ([ref], [])
        drop_object(ref)
        with pytest.raises(ObjectLostError, match=ref.hex()):
            narke.get(ref, timeout=30)

    @pytest.mark.parametrize("size", [10, 500_000])
    def test_owner_died(self, size):
        keeper = Keeper.remote()
        (ref,) = narke.get(keeper.make.remote(size))
        os.kill(narke.get(keeper.pid.remote()), signal.SIGKILL)
        with pytest.raises(RayActorError):
            for _ in range(100):
                narke.get(keeper.pid.remote(), timeout=20)
        with pytest.raises(OwnerDiedError, match=ref.hex()):
            narke.get(ref, timeout=20)

    def test_owner_dies_during_get(self, tmp_path):
        @narke.remote(num_cpus=0)
        class Owner:
            def submit(self):
                self.ref = report_and_hold.remote(tmp_path)
                return [self.ref], os.getpid()

        owner = Owner.remote()
        (ref,), pid = narke.get(owner.submit.remote())
        reported_pid(tmp_path)
        future = ref.future()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(OwnerDiedError):
            future.result(timeout=20)


@pytest.mark.usefixtures("cluster")
class TestScale:
    def test_recursion(self):
        @narke.remote
        def depth(level):
            return 0 if level == 0 else 1 + narke.get(depth.remote(level - 1))

        assert narke.get(depth.remote(60), timeout=100) == 60

    def test_many_small_tasks(self):
        refs = [identity.remote(i) for i in range(20_000)]
        assert narke.get(refs, timeout=100) == list(range(20_000))

    def test_many_actors(self):
        keepers = [Keeper.remote() for _ in range(40)]
        assert len(set(narke.get([keeper.pid.remote() for keeper in keepers], timeout=100))) == 40


NAN = float("nan")


@pytest.mark.parametrize(
    "options, name",
    [
        ({"num_cpus": -1}, "num_cpus"),
        ({"num_cpus": NAN}, "num_cpus"),
        ({"num_cpus": float("inf")}, "num_cpus"),
        ({"num_cpus": "1"}, "num_cpus"),
        ({"num_gpus": -0.5}, "num_gpus"),
        ({"num_gpus": NAN}, "num_gpus"),
        ({"memory": -1}, "memory"),
        ({"memory": NAN}, "memory"),
        ({"resources": {"part": NAN}}, "part"),
        ({"resources": {"part": -1}}, "part"),
        ({"resources": {"part": "1"}}, "part"),
        ({"resources": {1: 1}}, "resources"),
        ({"resources": [1]}, "resources"),
        ({"max_retries": -2}, "max_retries"),
        ({"max_retries": 1.5}, "max_retries"),
        ({"num_returns": -1}, "num_returns"),
        ({"num_returns": "many"}, "num_returns"),
        ({"retry_exceptions": 5}, "retry_exceptions"),
        ({"retry_exceptions": [5]}, "retry_exceptions"),
        ({"runtime_env": 5}, "runtime_env"),
        ({"scheduling_strategy": 5}, "scheduling_strategy"),
        ({"label_selector": 5}, "label_selector"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
    ids=str,
)
def test_bad_task_option_is_refused_at_once(cluster, options, name):
    with pytest.raises((ValueError, TypeError), match=name):
        identity.options(**options).remote(1)


@pytest.mark.parametrize(
    "options, name",
    [
        ({"num_cpus": NAN}, "num_cpus"),
        ({"max_restarts": -2}, "max_restarts"),
        ({"max_restarts": NAN}, "max_restarts"),
        ({"max_task_retries": "1"}, "max_task_retries"),
        ({"max_concurrency": -1}, "max_concurrency"),
        ({"max_concurrency": 1.5}, "max_concurrency"),
        ({"max_pending_calls": -2}, "max_pending_calls"),
        ({"lifetime": "forever"}, "lifetime"),
        ({"name": ""}, "name"),
        ({"namespace": 5}, "namespace"),
        ({"concurrency_groups": 5}, "concurrency_groups"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
    ids=str,
)
def test_bad_actor_option_is_refused_at_once(cluster, options, name):
    with pytest.raises((ValueError, TypeError), match=name):
        Keeper.options(**options).remote()


class TestInfeasible:
    def test_warns_once_and_is_listed(self, start):
        driver = start("""
import narke
from narke.util.state import list_tasks
narke.init(address="local", num_cpus=1, include_dashboard=False)

@narke.remote(resources={"absent": 1})
def impossible():
    pass

refs = [impossible.remote() for _ in range(3)]
print("ready", len(narke.wait(refs, timeout=3)[0]))
print("states", sorted({task.state for task in list_tasks() if task.name == "impossible"}))
""")
        assert driver.said("ready") == "0"
        assert "PENDING" in driver.said("states")
        driver.ended()
        warnings = [line for line in driver.errors.splitlines() if "absent" in line]
        assert len(warnings) == 1
        driver.leaves_nothing()
