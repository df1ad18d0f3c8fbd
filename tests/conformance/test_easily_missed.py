"""Behaviour of Ray that is easily missed: each case was met in programs that nobody here wrote."""

import asyncio
import os
import signal
import time

import pytest
import ray
from ray import util
from ray.exceptions import RayActorError, RayTaskError, TaskCancelledError
from ray.util import state
from waiting import is_running, wait_for

pytestmark = pytest.mark.usefixtures("cluster")


@ray.remote(num_cpus=0)
class Plain:
    def __init__(self):
        self.log = []
        self.note = "a value under a method's name"

    def note(self, text):
        self.log.append(text)
        return self.log

    def pid(self):
        return os.getpid()

    def keep_itself(self):
        self.me = ray.get_runtime_context().current_actor
        return os.getpid()

    def itself(self):
        return ray.get_runtime_context().current_actor

    def until_cancelled(self, marker):
        open(marker, "w").close()
        try:
            wait_for(ray.get_runtime_context().is_canceled, what="the cancellation")
        except BaseException as error:
            self.log.append(type(error).__name__)
            raise
        self.log.append("left by itself")
        return "not for the caller"

    def seen(self):
        return self.log

    def leave(self):
        try:
            ray.actor.exit_actor()
        except SystemExit:
            return "stays"


def test_a_method_whose_name_the_instance_uses_for_a_value():
    assert ray.get(Plain.remote().note.remote("x")) == ["x"]


class TestWhoKeepsAnActorAlive:
    def test_not_who_looked_it_up(self):
        actor = Plain.options(name="looked up").remote()
        pid = ray.get(actor.pid.remote())
        found = ray.get_actor("looked up")
        assert ray.get(found.pid.remote()) == pid
        del actor
        wait_for(lambda: not is_running(pid), what="the actor's end")
        with pytest.raises(RayActorError):
            ray.get(found.pid.remote())

    def test_not_who_found_it_when_creating_one(self):
        actor = Plain.options(name="found").remote()
        pid = ray.get(actor.pid.remote())
        found = Plain.options(name="found", get_if_exists=True).remote()
        assert ray.get(found.pid.remote()) == pid
        del actor
        wait_for(lambda: not is_running(pid), what="the actor's end")

    def test_not_itself(self):
        actor = Plain.remote()
        pid = ray.get(actor.keep_itself.remote())
        del actor
        wait_for(lambda: not is_running(pid), what="the end of an actor that holds itself")

    def test_not_who_got_it_from_itself(self):
        actor = Plain.remote()
        pid = ray.get(actor.pid.remote())
        given = ray.get(actor.itself.remote())
        assert ray.get(given.pid.remote()) == pid
        del actor
        wait_for(lambda: not is_running(pid), what="the actor's end")


class TestCancelledMethods:
    @pytest.mark.parametrize("concurrency", [1, 3])
    def test_one_that_runs_is_not_interrupted(self, tmp_path, concurrency):
        actor = Plain.options(max_concurrency=concurrency).remote()
        begun = tmp_path / "begun"
        ref = actor.until_cancelled.remote(str(begun))
        wait_for(begun.exists, what="the method to run")
        ray.cancel(ref)
        with pytest.raises(TaskCancelledError):
            ray.get(ref, timeout=30)
        assert ray.get(actor.seen.remote()) == ["left by itself"]

    def test_it_may_ask(self, tmp_path):
        begun = tmp_path / "begun"

        @ray.remote
        def task():
            begun.touch()
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                return ray.get_runtime_context().is_canceled()

        ref = task.remote()
        wait_for(begun.exists, what="the task to run")
        ray.cancel(ref)
        assert ray.get(ref, timeout=30) is True

    def test_it_may_not_ask_in_a_coroutine(self):
        @ray.remote(num_cpus=0)
        class Async:
            async def ask(self):
                return ray.get_runtime_context().is_canceled()

        with pytest.raises(RuntimeError, match="not supported in an async actor"):
            ray.get(Async.remote().ask.remote())

    def test_methods_that_it_called_are_cancelled_too(self, tmp_path):
        begun = tmp_path / "begun"

        @ray.remote(num_cpus=0)
        class Child:
            async def wait(self):
                begun.touch()
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    (tmp_path / "cancelled").touch()
                    raise

        @ray.remote(num_cpus=0)
        class Parent:
            async def run(self, child):
                await child.wait.remote()

        child, parent = Child.remote(), Parent.remote()
        ref = parent.run.remote(child)
        wait_for(begun.exists, what="the inner call to run")
        ray.cancel(ref, recursive=True)
        with pytest.raises(TaskCancelledError):
            ray.get(ref, timeout=30)
        wait_for((tmp_path / "cancelled").exists, what="the inner call's end")


class TestEnds:
    def test_exit_that_the_method_catches(self):
        actor = Plain.remote()
        with pytest.raises(RayActorError):
            ray.get(actor.leave.remote())
        with pytest.raises(RayActorError):
            ray.get(actor.seen.remote())

    def test_an_async_method_that_catches_it(self):
        @ray.remote(num_cpus=0)
        class Async:
            async def leave(self):
                try:
                    ray.actor.exit_actor()
                except Exception:
                    return "stays"

        with pytest.raises(RayActorError):
            ray.get(Async.remote().leave.remote())

    @pytest.mark.parametrize("way", ["last handle", "terminate"])
    def test_own_shutdown_runs(self, tmp_path, way):
        log = tmp_path / "log"

        @ray.remote(num_cpus=0)
        class Tidy:
            def ready(self):
                return True

            def __ray_shutdown__(self):
                log.write_text("tidied up")
                raise ValueError("what it raises ends nothing else")

        actor = Tidy.remote()
        ray.get(actor.ready.remote())
        if way == "terminate":
            actor.__ray_terminate__.remote()
        else:
            del actor
        wait_for(lambda: log.exists() and log.read_text() == "tidied up", what="__ray_shutdown__")

    def test_not_of_a_killed_one(self, tmp_path):
        log = tmp_path / "log"

        @ray.remote(num_cpus=0)
        class Tidy:
            def pid(self):
                return os.getpid()

            def __ray_shutdown__(self):
                log.touch()

        actor = Tidy.remote()
        pid = ray.get(actor.pid.remote())
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not is_running(pid), what="the actor's end")
        assert not log.exists()


class TestThreadsOfLibraries:
    """OMP_NUM_THREADS is as many as the task has CPUs, and what somebody has chosen stays."""

    @pytest.mark.parametrize(("cpus", "threads"), [(None, "1"), (2, "2"), (0.5, "1")])
    def test_tasks(self, cpus, threads):
        @ray.remote
        def ask():
            return os.environ.get("OMP_NUM_THREADS")

        assert ray.get((ask if cpus is None else ask.options(num_cpus=cpus)).remote()) == threads

    def test_actors(self):
        @ray.remote(num_cpus=2)
        class Asks:
            def threads(self):
                return os.environ.get("OMP_NUM_THREADS")

        assert ray.get(Asks.remote().threads.remote()) == "2"

    def test_chosen(self):
        @ray.remote(num_cpus=1, runtime_env={"env_vars": {"OMP_NUM_THREADS": "7"}})
        def ask():
            return os.environ["OMP_NUM_THREADS"]

        assert ray.get(ask.remote()) == "7"


class TestGpus:
    def test_another_process_than_for_tasks_without(self):
        @ray.remote
        def without():
            return os.getpid()

        @ray.remote(num_gpus=1)
        def with_one():
            return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]

        pids = set(ray.get([without.remote() for _ in range(20)]))
        pid, visible = ray.get(with_one.remote())
        assert pid not in pids
        assert visible in ("0", "1")

    def test_none_asked_for_hides_none(self):
        @ray.remote(num_gpus=0)
        def ask():
            return os.environ.get("CUDA_VISIBLE_DEVICES")

        assert ray.get(ask.remote()) == os.environ.get("CUDA_VISIBLE_DEVICES")

    def test_left_alone(self):
        @ray.remote(
            num_gpus=1, runtime_env={"env_vars": {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}}
        )
        def ask():
            return os.environ.get("CUDA_VISIBLE_DEVICES")

        assert ray.get(ask.remote()) == os.environ.get("CUDA_VISIBLE_DEVICES")


class TestGenerators:
    def test_several_returns_of_one_that_raises(self):
        @ray.remote(num_returns=3, max_retries=0)
        def some():
            yield 1
            raise KeyError("the second")

        first, second, third = some.remote()
        assert ray.get(first) == 1
        for ref in (second, third):
            with pytest.raises(KeyError, match="the second"):
                ray.get(ref)

    @pytest.mark.parametrize("yielded", [2, 4])
    def test_another_number_of_values(self, yielded):
        @ray.remote(num_returns=3)
        def some():
            yield from range(yielded)

        refs = some.remote()
        assert ray.get(refs[:2]) == [0, 1]
        if yielded == 4:
            assert ray.get(refs[2]) == 2
        else:
            with pytest.raises(RayTaskError):
                ray.get(refs[2])

    def test_get_of_one_gives_itself(self):
        @ray.remote
        def some():
            yield from range(3)

        assert [ray.get(ref) for ref in ray.get(some.remote())] == [0, 1, 2]


def test_a_synchronous_method_of_an_async_actor_may_return_a_reference():
    @ray.remote(num_cpus=0)
    class Async:
        async def coroutine(self):
            return 1

        def reference(self):
            return ray.put(5)

    ref = ray.get(Async.remote().reference.remote())
    assert isinstance(ref, ray.ObjectRef)
    assert ray.get(ref) == 5


def test_a_future_before_the_loop_runs():
    @ray.remote
    def one():
        return 1

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        assert loop.run_until_complete(asyncio.wait_for(one.remote().as_future(), 30)) == 1
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_a_function_that_uses_the_package_util():
    @ray.remote
    def ask():
        return util.get_node_ip_address()

    assert ray.get(ask.remote()) == util.get_node_ip_address()


def test_actor_pool_of_methods_with_several_returns():
    @ray.remote(num_cpus=0)
    class Pairs:
        @ray.method(num_returns=2)
        def pair(self, value):
            return value, -value

    pool = util.ActorPool([Pairs.remote(), Pairs.remote()])
    assert list(pool.map(lambda actor, value: actor.pair.remote(value), range(4))) == [
        [n, -n] for n in range(4)
    ]
    assert sorted(pool.map_unordered(lambda actor, value: actor.pair.remote(value), [1, 2])) == [
        [1, -1],
        [2, -2],
    ]


def test_the_running_function_is_told_with_its_module():
    @ray.remote
    def ask():
        return ray.get_runtime_context().get_task_function_name()

    assert ray.get(ask.remote()).startswith(f"{__name__}.")


def test_a_bundle_without_a_group():
    with pytest.raises(ValueError, match="bundle index must be -1"):
        Plain.options(placement_group_bundle_index=0).remote()


def test_private_modules_without_importing_them():
    assert ray._private.worker.global_worker.connected
    assert ray._private.services.get_node_ip_address()


class TestErrors:
    def test_of_a_class_whose_args_cannot_be_set(self):
        class ReadOnly(Exception):
            def __init__(self, text):
                self._text = text

            @property
            def args(self):
                return (self._text,)

            def __str__(self):
                return self._text

        @ray.remote
        def fail():
            raise ReadOnly("boom")

        with pytest.raises(ReadOnly, match="boom") as raised:
            ray.get(fail.remote())
        assert isinstance(raised.value, RayTaskError)
        assert raised.value.args == (raised.value.cause,)


def test_filters_of_states_in_capitals():
    actor = Plain.options(name="in capitals").remote()
    ray.get(actor.pid.remote())
    found = state.list_actors(filters=[("NAME", "=", "in capitals"), ("State", "=", "ALIVE")])
    assert [each.actor_id for each in found] == [actor._actor_id.hex()]


def test_an_actor_class_lists_its_methods():
    assert {"note", "pid", "remote", "options", "bind"} <= set(dir(Plain))


@pytest.mark.parametrize("value", ["in(H100,, B200)", "in()", "in(H100"])
def test_label_selectors_that_lack_a_value(value):
    with pytest.raises(ValueError, match="label selector"):
        Plain.options(label_selector={"ray.io/accelerator-type": value})


def test_no_actor_class_derives_from_another():
    with pytest.raises(TypeError, match="Inheriting from actor classes is not currently supported"):

        class Derived(Plain):
            pass
