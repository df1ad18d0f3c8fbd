"""Actors: names, lifetime, failure and restarts."""

import os
import signal
import subprocess
import sys

import pytest
import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    RayActorError,
    RayTaskError,
)
from waiting import hold, is_running, mark, marks, wait_for

pytestmark = pytest.mark.usefixtures("cluster")


@ray.remote(num_cpus=0)
class Counter:
    def __init__(self, start=0):
        self.count = start

    def add(self, amount=1):
        self.count += amount
        return self.count

    def raise_error(self, error):
        raise error

    def pid(self):
        return os.getpid()

    def crash(self):
        os._exit(1)

    def leave(self):
        ray.actor.exit_actor()


def gone(actor):
    """Whether calls on `actor` end in its death."""
    try:
        ray.get(actor.pid.remote(), timeout=10)
    except RayActorError:
        return True
    return False


class TestNames:
    def test_get_by_name(self):
        counter = Counter.options(name="by-name").remote(1)
        assert ray.get_actor("by-name") == counter
        assert ray.get(ray.get_actor("by-name").add.remote()) == 2

    def test_taken_name(self):
        first = Counter.options(name="taken").remote()
        with pytest.raises(ValueError, match="taken"):
            Counter.options(name="taken").remote()
        assert ray.get(first.add.remote()) == 1

    def test_get_if_exists(self):
        options = {"name": "once", "get_if_exists": True}
        first = Counter.options(**options).remote(10)
        second = Counter.options(**options).remote(20)
        assert first == second
        assert ray.get(second.add.remote()) == 11

    @pytest.mark.parametrize("name, text", [("missing", "missing"), ("", "non-empty")])
    def test_unknown_name(self, name, text):
        with pytest.raises(ValueError, match=text):
            ray.get_actor(name)

    def test_namespaces(self):
        counter = Counter.options(name="spaced", namespace="elsewhere").remote()
        with pytest.raises(ValueError):
            ray.get_actor("spaced")
        assert ray.get_actor("spaced", namespace="elsewhere") == counter
        here = Counter.options(name="spaced").remote()
        assert here != counter

    def test_list_named_actors(self):
        kept = Counter.options(name="listed").remote()
        other = Counter.options(name="listed", namespace="elsewhere").remote()
        ray.get([kept.add.remote(), other.add.remote()])
        assert "listed" in ray.util.list_named_actors()
        everywhere = ray.util.list_named_actors(all_namespaces=True)
        spaces = {entry["namespace"] for entry in everywhere if entry["name"] == "listed"}
        assert spaces == {"elsewhere", ray.get_runtime_context().namespace}

    def test_name_is_free_after_death(self):
        first = Counter.options(name="reused").remote()
        ray.get(first.add.remote())
        ray.kill(first)
        wait_for(lambda: "reused" not in ray.util.list_named_actors(), what="the name's release")
        assert ray.get(Counter.options(name="reused").remote(5).add.remote()) == 6

    def test_named_actor_is_found_from_a_task(self):
        counter = Counter.options(name="from-task").remote()

        @ray.remote
        def find():
            return ray.get(ray.get_actor("from-task").add.remote())

        assert ray.get(find.remote()) == 1
        assert ray.get(counter.add.remote()) == 2

    def test_detached_outlives_its_driver(self, cluster, program):
        ended = program(f"""
import ray
ray.init({cluster.address_info["gcs_address"]!r}, namespace="left")

@ray.remote(num_cpus=0)
class Left:
    def say(self):
        return "still here"

for lifetime in ("detached", None):
    actor = Left.options(name=str(lifetime), lifetime=lifetime).remote()
    assert ray.get(actor.say.remote()) == "still here"
""")
        assert ended.returncode == 0, ended.stderr
        left = ray.get_actor("detached", namespace="left")
        assert ray.get(left.say.remote()) == "still here"
        names = lambda: {entry["name"] for entry in ray.util.list_named_actors(all_namespaces=True)}  # noqa: E731
        wait_for(lambda: "None" not in names(), what="the end of the actor that was not detached")
        ray.kill(left)


class TestLifetime:
    def test_kill(self):
        counter = Counter.remote()
        pid = ray.get(counter.pid.remote())
        ray.kill(counter)
        wait_for(lambda: gone(counter), what="the actor's end")
        with pytest.raises(ActorDiedError):
            ray.get(counter.add.remote())
        wait_for(lambda: not is_running(pid), what="the process's end")

    def test_kill_is_for_actors(self):
        with pytest.raises(ValueError, match="only supported for actors"):
            ray.kill(1)

    def test_kill_fails_what_runs(self, tmp_path):
        @ray.remote(num_cpus=0)
        class Blocked:
            def block(self):
                mark(tmp_path)
                hold(tmp_path / "gate")

        actor = Blocked.remote()
        running, queued = actor.block.remote(), actor.block.remote()
        wait_for(lambda: marks(tmp_path), what="the call's start")
        ray.kill(actor)
        for ref in (running, queued):
            with pytest.raises(RayActorError):
                ray.get(ref, timeout=30)

    def test_ends_with_its_last_handle(self):
        counter = Counter.remote()
        pid = ray.get(counter.pid.remote())
        assert is_running(pid)
        del counter
        wait_for(lambda: not is_running(pid), what="the process's end")

    def test_pending_calls_finish_after_the_last_handle(self):
        refs = [Counter.remote(i).add.remote() for i in range(3)]
        assert ray.get(refs) == [1, 2, 3]

    def test_handle_held_elsewhere_keeps_it_alive(self):
        counter = Counter.remote()
        holder = Counter.remote(counter)
        pid = ray.get(counter.pid.remote())
        ray.get(holder.pid.remote())
        boxed = ray.put([counter])
        del counter
        assert ray.get(ray.get(boxed)[0].pid.remote()) == pid

    def test_exit_actor(self):
        counter = Counter.remote()
        pid = ray.get(counter.pid.remote())
        with pytest.raises(RayActorError):
            ray.get(counter.leave.remote())
        assert gone(counter)
        wait_for(lambda: not is_running(pid), what="the process's end")

    def test_exit_actor_is_for_actors(self):
        with pytest.raises(TypeError, match="exit_actor"):
            ray.actor.exit_actor()

    def test_terminate_after_queued_calls(self):
        counter = Counter.remote()
        queued = [counter.add.remote() for _ in range(5)]
        counter.__ray_terminate__.remote()
        assert ray.get(queued) == [1, 2, 3, 4, 5]
        wait_for(lambda: gone(counter), what="the actor's end")

    def test_ready(self):
        assert ray.get(Counter.remote().__ray_ready__.remote()) is True

    def test_call_runs_inside(self):
        counter = Counter.remote(3)
        assert ray.get(counter.__ray_call__.remote(lambda self, factor: self.count * factor, 5)) == 15


class TestFailure:
    def test_method_error_derives_from_the_users_type(self):
        counter = Counter.remote()
        with pytest.raises(KeyError, match="gone") as caught:
            ray.get(counter.raise_error.remote(KeyError("gone")))
        assert isinstance(caught.value, RayTaskError)
        assert "raise_error" in str(caught.value)
        assert ray.get(counter.add.remote()) == 1

    def test_failing_constructor(self):
        @ray.remote(num_cpus=0)
        class Broken:
            def __init__(self):
                raise ValueError("cannot start")

            def method(self):
                pass

        broken = Broken.remote()
        with pytest.raises(ActorDiedError, match="(?s)error raised in its creation task.*cannot start"):
            ray.get(broken.method.remote())
        with pytest.raises(RayActorError, match="cannot start"):
            ray.get(broken.method.remote())

    def test_failed_constructor_argument(self):
        @ray.remote
        def fail():
            raise ValueError("no argument")

        with pytest.raises(RayActorError, match="no argument"):
            ray.get(Counter.remote(fail.remote()).add.remote())

    @pytest.mark.parametrize("leave", ["crash", "kill"])
    def test_death_names_the_actor(self, leave):
        counter = Counter.remote()
        ray.get(counter.add.remote())
        if leave == "kill":
            ray.kill(counter)
        else:
            with pytest.raises(RayActorError):
                ray.get(counter.crash.remote())
        wait_for(lambda: gone(counter), what="the actor's end")
        with pytest.raises(ActorDiedError, match="Counter") as caught:
            ray.get(counter.add.remote())
        assert caught.value.actor_id in str(caught.value)
        assert caught.value.actor_id == counter._actor_id.hex()

    def test_calls_queued_behind_a_crash_fail(self):
        counter = Counter.remote()
        assert ray.get(counter.add.remote()) == 1
        for ref in [counter.crash.remote(), counter.add.remote()]:
            with pytest.raises(RayActorError):
                ray.get(ref)

    def test_sys_exit_in_a_method_ends_the_actor(self):
        @ray.remote(num_cpus=0)
        class Leaver:
            def leave(self):
                sys.exit(0)

            def pid(self):
                return os.getpid()

        leaver = Leaver.remote()
        with pytest.raises(RayActorError):
            ray.get(leaver.leave.remote())
        assert gone(leaver)

    def test_children_of_a_killed_worker_end_with_it(self):
        @ray.remote(num_cpus=0)
        class Spawner:
            def spawn(self):
                return os.getpid(), subprocess.Popen(["sleep", "600"]).pid

        spawner = Spawner.remote()
        worker, child = ray.get(spawner.spawn.remote())
        assert is_running(child)
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: not is_running(child), timeout_s=10, what="the child's end")


class TestRestarts:
    def test_restart_makes_fresh_state(self):
        counter = Counter.options(max_restarts=1).remote(10)
        pid = ray.get(counter.pid.remote())
        ray.get(counter.add.remote())
        with pytest.raises(RayActorError):
            ray.get(counter.crash.remote())

        def retried():
            try:
                return ray.get(counter.add.remote())
            except ActorUnavailableError:
                return None

        assert wait_for(retried, what="the restart") == 11
        assert ray.get(counter.pid.remote()) != pid
        with pytest.raises(RayActorError):
            ray.get(counter.crash.remote())
        wait_for(lambda: gone(counter), what="the final death")

    def test_calls_are_retried(self, tmp_path):
        @ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=3)
        class Fragile:
            def work(self):
                if mark(tmp_path) < 3:
                    os._exit(1)
                return ray.get_runtime_context().was_current_actor_reconstructed

        assert ray.get(Fragile.remote().work.remote()) is True
        assert len(marks(tmp_path)) == 3

    def test_exceptions_are_retried_when_asked(self, tmp_path):
        @ray.remote(num_cpus=0, max_task_retries=2)
        class Raiser:
            @ray.method(retry_exceptions=[KeyError])
            def work(self):
                if mark(tmp_path) < 3:
                    raise KeyError
                return "done"

        assert ray.get(Raiser.remote().work.remote()) == "done"

    def test_kill_without_no_restart(self):
        counter = Counter.options(max_restarts=1, max_task_retries=-1).remote()
        pid = ray.get(counter.pid.remote())
        ray.kill(counter, no_restart=False)
        assert wait_for(lambda: ray.get(counter.pid.remote()) != pid, what="the new process")
        ray.kill(counter)
        wait_for(lambda: gone(counter), what="the actor's end")

    def test_exit_actor_is_final(self):
        counter = Counter.options(max_restarts=-1).remote()
        with pytest.raises(RayActorError):
            ray.get(counter.leave.remote())
        assert gone(counter)
