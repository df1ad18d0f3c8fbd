"""Actors that do several things at once: coroutines, threads, groups of them."""

import asyncio
import threading
import time

import pytest
import ray
from ray.exceptions import (
    PendingCallsLimitExceeded,
    RayActorError,
    TaskCancelledError,
)
from waiting import hold, mark, marks, wait_for

pytestmark = pytest.mark.usefixtures("cluster")


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

    def test_constructors_run_on_the_loop(self):
        @ray.remote(num_cpus=0)
        class Beats:
            def __init__(self):
                self.loop = asyncio.get_running_loop()
                self.first_beat = asyncio.create_task(asyncio.sleep(0.01, "beat"))

            async def beat(self):
                return await self.first_beat, self.loop is asyncio.get_running_loop()

        assert ray.get(Beats.remote().beat.remote()) == ("beat", True)

    @pytest.mark.parametrize("where", ["constructor", "task", "task of the constructor"])
    def test_exit_outside_of_calls(self, where):
        @ray.remote(num_cpus=0)
        class Leaves:
            def __init__(self):
                if where == "constructor":
                    ray.actor.exit_actor()
                if where == "task of the constructor":
                    self.leaving = asyncio.create_task(self.leave())

            async def leave(self):
                ray.actor.exit_actor()

            async def leave_later(self):
                self.leaving = asyncio.create_task(self.leave())

            async def wait(self):
                await asyncio.Event().wait()

        actor = Leaves.remote()
        if where == "task":
            ray.get(actor.leave_later.remote())
        with pytest.raises(ray.exceptions.ActorDiedError, match=r"exit_actor\(\)"):
            ray.get(actor.wait.remote(), timeout=30)

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

    def test_a_handle_elsewhere_knows_that_calls_may_overtake(self, tmp_path):
        @ray.remote(num_cpus=0)
        def late():
            hold(tmp_path / "gate")
            return 1

        @ray.remote(num_cpus=0)
        class Log:
            async def note(self, value):
                return value

        @ray.remote(num_cpus=0)
        def call(log):
            first, second = log.note.remote(late.remote()), log.note.remote(2)
            seen = ray.get(second, timeout=60)
            (tmp_path / "gate").touch()
            return seen, ray.get(first)

        assert ray.get(call.remote(Log.remote())) == (2, 1)
