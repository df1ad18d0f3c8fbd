"""Workers and their zygote die; the cluster goes on."""

import os
import pathlib
import signal
import subprocess

import numpy as np
import pytest
from driving import zygote_of
from waiting import hold, is_running, mark, marks, wait_for

import narke
from narke.exceptions import (
    ActorDiedError,
    RayActorError,
    WorkerCrashedError,
)


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

    def spawn(self):
        return os.getpid(), subprocess.Popen(["sleep", "600"]).pid

    def spawn_daemon(self):
        """Start a process that is nobody's child and of no session of this one."""
        shell = ["sh", "-c", "setsid sleep 600 >/dev/null & echo $!"]
        return os.getpid(), int(subprocess.run(shell, stdout=subprocess.PIPE, check=True).stdout)

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

    def test_its_daemons_end_with_it_and_others_live(self):
        bystander, keeper = Keeper.remote(), Keeper.remote()
        other, spared = narke.get(bystander.spawn_daemon.remote())
        pid, daemon = narke.get(keeper.spawn_daemon.remote())
        os.kill(pid, signal.SIGKILL)
        # What dead workers leave is ended in one go, the oldest first.
        wait_for(lambda: not is_running(daemon), what="the end of the daemon")
        assert is_running(spared)
        os.kill(other, signal.SIGKILL)
        wait_for(lambda: not is_running(spared), what="the end of the other daemon")

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
