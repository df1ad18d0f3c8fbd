"""Actors: state, order, names, lifetime, failure, and their kinds of concurrency."""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    PendingCallsLimitExceeded,
    RayActorError,
    RayTaskError,
    TaskCancelledError,
)
from waiting import hold, is_running, mark, marks, wait_for

pytestmark = pytest.mark.usefixtures("cluster")


class Base:
    def inherited(self):
        return f"base of {self.name}"

    def overridden(self):
        return "base"


@ray.remote(num_cpus=0)
class Counter(Base):
    """Counts."""

    kind = "counter"

    def __init__(self, start=0, *, name="nameless"):
        self.count, self.name = start, name

    def add(self, amount=1):
        self.count += amount
        return self.count

    def overridden(self):
        return super().overridden() + " and counter"

    @staticmethod
    def fixed(value):
        return value

    @classmethod
    def of_class(cls):
        return cls.kind

    @property
    def doubled(self):
        return 2 * self.count

    def read_doubled(self):
        return self.doubled

    def raise_error(self, error):
        raise error

    def pid(self):
        return os.getpid()

    def crash(self):
        os._exit(1)

    def leave(self):
        ray.actor.exit_actor()

    def identity(self, value):
        return value

    @ray.method(num_returns=2)
    def pair(self):
        return 1, 2

    def __len__(self):
        return self.count


@ray.remote
def add_through(handle, amount):
    return ray.get(handle.add.remote(amount))


def gone(actor):
    """Whether calls on `actor` end in its death."""
    try:
        ray.get(actor.pid.remote(), timeout=10)
    except RayActorError:
        return True
    return False


class TestCalls:
    def test_state_and_order(self):
        counter = Counter.remote()
        assert ray.get([counter.add.remote() for _ in range(200)]) == list(range(1, 201))

    def test_constructor_arguments(self):
        counter = Counter.remote(5, name="named")
        assert ray.get(counter.add.remote()) == 6
        assert ray.get(counter.inherited.remote()) == "base of named"

    def test_constructor_argument_is_a_reference(self):
        assert ray.get(Counter.remote(ray.put(41)).add.remote()) == 42

    def test_method_argument_is_a_reference(self):
        counter = Counter.remote()
        ref = counter.add.remote(3)
        assert ray.get(counter.add.remote(ref)) == 6
        assert isinstance(ray.get(counter.identity.remote([ref]))[0], ray.ObjectRef)

    def test_keyword_arguments(self):
        assert ray.get(Counter.remote(start=1).add.remote(amount=2)) == 3

    def test_inheritance_static_class_and_property(self):
        counter = Counter.remote(4)
        assert ray.get(counter.overridden.remote()) == "base and counter"
        assert ray.get(counter.fixed.remote(9)) == 9
        assert ray.get(counter.of_class.remote()) == "counter"
        assert ray.get(counter.read_doubled.remote()) == 8
        assert ray.get(counter.__len__.remote()) == 4

    def test_several_returns(self):
        counter = Counter.remote()
        assert ray.get(list(counter.pair.remote())) == [1, 2]
        assert ray.get(counter.identity.options(num_returns=3).remote("abc")) == ["a", "b", "c"]
        assert counter.add.options(num_returns=0).remote() is None
        assert ray.get(counter.add.remote()) == 2

    def test_call_name(self):
        @ray.remote(num_cpus=0)
        class Named:
            def task_name(self):
                return ray.get_runtime_context().get_task_name()

        actor = Named.remote()
        assert ray.get(actor.task_name.remote()) == "Named.task_name"
        assert ray.get(actor.task_name.options(name="renamed").remote()) == "renamed"

    def test_large_values(self):
        array = np.arange(1_000_000)
        np.testing.assert_array_equal(ray.get(Counter.remote().identity.remote(array)), array)

    def test_generator_method_streams(self):
        @ray.remote(num_cpus=0)
        class Producer:
            def produce(self, limit):
                for i in range(limit):  # noqa: UP028  # see test_better.py for `yield from`
                    yield i

        stream = Producer.remote().produce.remote(4)
        assert isinstance(stream, ray.ObjectRefGenerator)
        assert ray.get(list(stream)) == [0, 1, 2, 3]

    def test_subclass_of_a_plain_class_with_remote(self):
        Remote = ray.remote(num_cpus=0)(type("Plain", (Base,), {"name": "plain"}))
        assert ray.get(Remote.remote().inherited.remote()) == "base of plain"

    @pytest.mark.parametrize(
        "call, error, text",
        [
            (
                lambda counter: Counter(),
                TypeError,
                r"Actors cannot be instantiated directly.*Counter\.remote\(\)",
            ),
            (
                lambda counter: counter.add(),
                TypeError,
                r"Actor methods cannot be called directly.*add\.remote\(\)",
            ),
            (lambda counter: counter.unknown, AttributeError, "unknown"),
            (lambda counter: counter.count, AttributeError, "count"),
            (lambda counter: counter.add.remote(1, 2), TypeError, "too many positional arguments"),
            (lambda counter: counter.add.remote(by=1), TypeError, "unexpected keyword argument 'by'"),
            (lambda counter: counter.identity.remote(), TypeError, "missing a required argument: 'value'"),
            (lambda counter: Counter.remote(1, 2), TypeError, "too many positional arguments"),
        ],
        ids=["class", "method", "unknown", "attribute", "extra", "keyword", "missing", "constructor"],
    )
    def test_wrong_use(self, call, error, text):
        with pytest.raises(error, match=text):
            call(Counter.remote())

    @pytest.mark.parametrize(
        "options, error, text",
        [
            ({"num_cpu": 1}, ValueError, "num_cpu"),
            ({"num_cpus": -1}, ValueError, "num_cpus"),
            ({"max_restarts": -2}, ValueError, "max_restarts"),
            ({"max_task_retries": -2}, ValueError, "max_task_retries"),
            ({"max_concurrency": -1}, ValueError, "max_concurrency"),
            ({"lifetime": "forever"}, ValueError, "lifetime"),
            ({"name": ""}, ValueError, "name"),
            ({"name": 1}, TypeError, "name"),
            ({"get_if_exists": True}, ValueError, "name must be specified"),
        ],
        ids=str,
    )
    def test_bad_option_is_refused_by_name(self, options, error, text):
        with pytest.raises(error, match=text):
            Counter.options(**options).remote()

    def test_resources_are_held_for_life(self):
        counter = Counter.options(num_cpus=2, resources={"custom": 1}).remote()
        ray.get(counter.add.remote())
        wait_for(lambda: ray.available_resources().get("CPU") == 2.0, what="2 CPUs in use")
        ray.kill(counter)
        wait_for(lambda: ray.available_resources().get("CPU") == 4.0, what="2 CPUs returned")

    def test_gpus(self):
        @ray.remote(num_gpus=1, num_cpus=0)
        class Holder:
            def gpus(self):
                return ray.get_gpu_ids(), os.environ["CUDA_VISIBLE_DEVICES"]

        holders = [Holder.remote(), Holder.remote()]
        assert sorted(ray.get([holder.gpus.remote() for holder in holders])) == [([0], "0"), ([1], "1")]


class TestHandles:
    def test_repr_equality_and_hash(self):
        counter, other = Counter.remote(), Counter.remote()
        assert repr(counter).startswith("Actor(Counter, ")
        assert counter == counter and counter != other
        (back,) = ray.get([counter.identity.remote([counter])])[0]
        assert back == counter and hash(back) == hash(counter)
        assert len({counter, back, other}) == 2

    def test_passed_to_tasks_and_actors(self):
        counter = Counter.remote()
        assert ray.get(add_through.remote(counter, 5)) == 5

        @ray.remote(num_cpus=0)
        class Holder:
            def __init__(self, held):
                self.held = held

            def add(self, amount):
                return ray.get(self.held["inside"][0].add.remote(amount))

        holder = Holder.remote({"inside": [counter]})
        assert ray.get(add_through.remote(holder, 2)) == 7

    def test_stored_and_captured(self):
        counter = Counter.remote()
        stored = ray.get(ray.put({"handle": counter}))["handle"]
        assert ray.get(stored.add.remote()) == 1

        @ray.remote
        def captures():
            return ray.get(counter.add.remote())

        assert ray.get(captures.remote()) == 2

    def test_returned_by_a_task(self):
        @ray.remote
        def make():
            return Counter.remote(10)

        assert ray.get(ray.get(make.remote()).add.remote()) == 11

    def test_actor_creates_actor(self):
        @ray.remote(num_cpus=0)
        class Parent:
            def __init__(self):
                self.child = Counter.remote(1)

            def child_add(self):
                return ray.get(self.child.add.remote())

            def give_child(self):
                return self.child

        parent = Parent.remote()
        assert ray.get(parent.child_add.remote()) == 2
        assert ray.get(ray.get(parent.give_child.remote()).add.remote()) == 3

    def test_own_handle(self):
        @ray.remote(num_cpus=0)
        class Selfish:
            def value(self):
                return 5

            def own(self):
                return ray.get_runtime_context().current_actor

        actor = Selfish.remote()
        own = ray.get(actor.own.remote())
        assert own == actor and ray.get(own.value.remote()) == 5

    def test_pickles_outside_of_ray(self):
        counter = Counter.remote()
        back = pickle.loads(pickle.dumps(counter))
        assert back == counter and ray.get(back.add.remote()) == 1


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


class TestAsync:
    @staticmethod
    @ray.remote(num_cpus=0)
    class Async:
        def __init__(self):
            self.event = asyncio.Event()
            self.inside = self.most = 0

        async def wait(self):
            self.inside += 1
            self.most = max(self.most, self.inside)
            await self.event.wait()
            self.inside -= 1
            return self.most

        async def how_many(self):
            return self.inside

        async def open(self):
            self.event.set()

        async def resolve(self, refs):
            return await asyncio.gather(*refs)

        async def stream(self, limit):
            for i in range(limit):
                await asyncio.sleep(0)
                yield i

        async def fail(self):
            raise KeyError("async")

        async def leave(self):
            ray.actor.exit_actor()

        async def echo(self, value):
            return value

    def test_calls_overlap(self):
        actor = self.Async.remote()
        refs = [actor.wait.remote() for _ in range(50)]
        wait_for(lambda: ray.get(actor.how_many.remote()) == 50, what="50 calls inside")
        ray.get(actor.open.remote())
        assert ray.get(refs) == [50] * 50

    def test_max_concurrency(self):
        actor = self.Async.options(max_concurrency=4).remote()
        refs = [actor.wait.remote() for _ in range(3)]
        wait_for(lambda: ray.get(actor.how_many.remote()) == 3, what="3 calls inside")
        ray.get(actor.open.remote())
        assert max(ray.get(refs)) == 3

        full = self.Async.options(max_concurrency=2).remote()
        full_refs = [full.wait.remote() for _ in range(3)]
        probe = full.how_many.remote()
        assert ray.wait([*full_refs, probe], timeout=1) == ([], [*full_refs, probe])
        ray.kill(full)

    def test_awaits_references(self):
        actor = self.Async.remote()
        refs = [ray.put(1), actor.echo.remote(2)]
        assert ray.get(actor.resolve.remote(refs)) == [1, 2]

    def test_awaits_a_later_call_of_itself(self):
        @ray.remote(num_cpus=0)
        class Recursive:
            async def outer(self):
                return await ray.get_runtime_context().current_actor.inner.remote()

            async def inner(self):
                return "inner"

        assert ray.get(Recursive.remote().outer.remote(), timeout=60) == "inner"

    def test_stream(self):
        actor = self.Async.remote()
        assert ray.get(list(actor.stream.remote(5))) == [0, 1, 2, 3, 4]

    def test_failure(self):
        with pytest.raises(KeyError, match="async"):
            ray.get(self.Async.remote().fail.remote())

    def test_cancel(self):
        actor = self.Async.remote()
        ref = actor.wait.remote()
        wait_for(lambda: ray.get(actor.how_many.remote()) == 1, what="the call inside")
        ray.cancel(ref)
        with pytest.raises(TaskCancelledError):
            ray.get(ref, timeout=30)
        assert ray.get(actor.echo.remote(1)) == 1

    def test_force_cancel_is_refused(self):
        with pytest.raises(ValueError, match="force=True is not supported for actor tasks"):
            ray.cancel(self.Async.remote().echo.remote(1), force=True)

    def test_exit(self):
        actor = self.Async.remote()
        with pytest.raises(RayActorError):
            ray.get(actor.leave.remote())

    def test_synchronous_methods_of_an_async_actor(self):
        @ray.remote(num_cpus=0)
        class Mixed:
            async def loops(self):
                return "async"

            def plain(self):
                return "plain"

        mixed = Mixed.remote()
        assert ray.get([mixed.plain.remote(), mixed.loops.remote()]) == ["plain", "async"]


class TestThreads:
    def test_threaded_calls_overlap(self):
        @ray.remote(num_cpus=0, max_concurrency=3)
        class Threaded:
            def __init__(self):
                self.barrier = threading.Barrier(3, timeout=60)

            def meet(self):
                self.barrier.wait()
                return threading.get_ident()

        actor = Threaded.remote()
        assert len(set(ray.get([actor.meet.remote() for _ in range(3)]))) == 3

    def test_default_is_one_at_a_time(self):
        @ray.remote(num_cpus=0)
        class Single:
            def __init__(self):
                self.inside = 0

            def enter(self):
                self.inside += 1
                time.sleep(0.01)
                now, self.inside = self.inside, self.inside - 1
                return now

        actor = Single.remote()
        assert ray.get([actor.enter.remote() for _ in range(10)]) == [1] * 10

    def test_concurrency_groups(self, tmp_path):
        @ray.remote(num_cpus=0, concurrency_groups={"io": 2, "compute": 1})
        class Grouped:
            @ray.method(concurrency_group="io")
            def block(self):
                mark(tmp_path)
                hold(tmp_path / "gate")
                return "io"

            @ray.method(concurrency_group="compute")
            def compute(self):
                return "compute"

            def plain(self):
                return "default"

        actor = Grouped.remote()
        blocked = [actor.block.remote() for _ in range(3)]
        assert ray.get([actor.compute.remote(), actor.plain.remote()], timeout=60) == ["compute", "default"]
        wait_for(lambda: len(marks(tmp_path)) == 2, what="two blocked calls")
        moved = actor.plain.options(concurrency_group="io").remote()
        assert ray.wait([moved], timeout=0.5) == ([], [moved])
        (tmp_path / "gate").touch()
        assert ray.get([*blocked, moved]) == ["io", "io", "io", "default"]

    def test_concurrency_groups_of_coroutines(self):
        @ray.remote(num_cpus=0, concurrency_groups={"wait": 2})
        class Grouped:
            def __init__(self):
                self.opened = False

            @ray.method(concurrency_group="wait")
            async def wait(self):
                while not self.opened:
                    await asyncio.sleep(0.01)
                return "waited"

            async def open(self):
                self.opened = True

        actor = Grouped.remote()
        refs = [actor.wait.remote() for _ in range(4)]
        ray.get(actor.open.remote(), timeout=60)
        assert ray.get(refs, timeout=60) == ["waited"] * 4

    def test_max_pending_calls(self, tmp_path):
        @ray.remote(num_cpus=0, max_pending_calls=3)
        class Slow:
            def block(self):
                hold(tmp_path / "gate")
                return "done"

        actor = Slow.remote()
        refs = []
        with pytest.raises(PendingCallsLimitExceeded):
            for _ in range(10):
                refs.append(actor.block.remote())
        assert len(refs) == 3
        (tmp_path / "gate").touch()
        assert ray.get(refs) == ["done"] * 3
        assert ray.get(actor.block.remote()) == "done"

    def test_order_waits_for_arguments(self, tmp_path):
        @ray.remote
        def late():
            hold(tmp_path / "gate")
            return 1

        @ray.remote(num_cpus=0)
        class Log:
            def __init__(self):
                self.seen = []

            def note(self, value):
                self.seen.append(value)
                return list(self.seen)

        ordered = Log.remote()
        first, second = ordered.note.remote(late.remote()), ordered.note.remote(2)
        assert ray.wait([second], timeout=0.5) == ([], [second])
        free = Log.options(allow_out_of_order_execution=True).remote()
        free_first, free_second = free.note.remote(late.remote()), free.note.remote(2)
        assert ray.get(free_second, timeout=60) == [2]
        (tmp_path / "gate").touch()
        assert ray.get([first, second]) == [[1], [1, 2]]
        assert ray.get(free_first) == [2, 1]
