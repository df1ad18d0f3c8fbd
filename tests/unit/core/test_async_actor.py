"""The event loop of async actors, fed by a stand-in for the extension."""

import asyncio
import os

import pytest

from narke._private import async_actor, readiness
from narke._private.execution import ActorExit
from narke.exceptions import AsyncioActorExit


class Call:
    """A call as the extension hands it over; notes how it was answered."""

    def __init__(self, target, *args, group="", num_returns=1, room=1 << 30):
        self.target, self.args, self.kwargs = target, args, {}
        self.group, self.num_returns, self.task_id = group, num_returns, os.urandom(24)
        self.items, self.room, self.stopped = [], room, False
        self.value = self.error = None

    def enter(self):
        pass

    def finish(self, value):
        self.value = value

    def fail(self, error):
        self.error = error

    def yield_value(self, value):
        self.items.append(value)
        return self.has_room()

    def has_room(self):
        return len(self.items) < self.room

    def is_stopped(self):
        return self.stopped


class Native:
    """Hands over calls at once, leaves when all are answered; steps run at each look."""

    def __init__(self, *calls, steps=()):
        self.calls, self.waiting = calls, list(calls)
        self.steps, self.cancelled, self.ready = list(steps), [], []
        self.in_turn = False
        self.reader, self.writer = os.pipe()

    def poll_fd(self):
        return self.reader

    def poll_now(self):
        if self.steps:
            self.steps.pop(0)(self)
        arrived, self.waiting = self.waiting, []
        return arrived

    def begin_turn(self):
        self.in_turn = True

    def end_turn(self):
        self.in_turn = False

    def take_ready(self):
        ready, self.ready = self.ready, []
        return ready

    def take_cancelled(self):
        cancelled, self.cancelled = self.cancelled, []
        return cancelled

    def is_leaving(self):
        return all(call.value is not None or call.error is not None for call in self.calls)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(async_actor, "_TICK_S", 0.001)


def run(native, limits=None):
    async_actor.construct(native, limits or {"": 1000}, object)
    async_actor.run(native)


class TestCalls:
    def test_coroutine_and_plain_method(self):
        async def double(x):
            await asyncio.sleep(0)
            return 2 * x

        calls = Call(double, 4), Call(lambda x: x + 1, 4)
        run(Native(*calls))
        assert [call.value for call in calls] == [8, 5]

    def test_exceptions_are_answered(self):
        async def fail():
            raise ValueError("x")

        call = Call(fail)
        run(Native(call))
        assert isinstance(call.error, ValueError)

    def test_leaving(self):
        async def leave():
            raise AsyncioActorExit()

        call = Call(leave)
        run(Native(call))
        assert isinstance(call.error, ActorExit)


class TestTurns:
    def test_work_is_done_in_turns(self):
        native = Native()

        async def note():
            return native.in_turn

        native.waiting = [Call(note)]
        native.calls = list(native.waiting)
        run(native)
        assert native.calls[0].value is True
        assert not native.in_turn

    def test_before_sleep_comes_after_the_turns_work(self):
        done = []

        async def first():
            async_actor.before_sleep(lambda: done.append("sleep"))
            done.append("first")
            return True

        async def second():
            done.append("second")
            return True

        run(Native(Call(first), Call(second)))
        assert done == ["first", "second", "sleep"]

    def test_what_became_ready_while_polling_is_told(self):
        native = Native()
        told = []

        async def wait():
            token = readiness.call_when_ready(lambda token: None, lambda: told.append(True))
            native.steps.append(lambda here: here.ready.append(token))
            while not told:
                await asyncio.sleep(0.001)
            return True

        native.waiting = [Call(wait)]
        native.calls = list(native.waiting)
        run(native)
        assert told == [True]


class TestLimits:
    @pytest.mark.parametrize("limit, most", [(1, 1), (3, 3), (100, 10)])
    def test_of_the_actor(self, limit, most):
        inside, seen = [0], []

        async def work():
            inside[0] += 1
            seen.append(inside[0])
            await asyncio.sleep(0.002)
            inside[0] -= 1
            return True

        run(Native(*(Call(work) for _ in range(10))), {"": limit})
        assert max(seen) == most

    def test_of_groups(self):
        inside, seen = {"a": 0, "b": 0}, {"a": [], "b": []}

        async def work(group):
            inside[group] += 1
            seen[group].append(inside[group])
            await asyncio.sleep(0.002)
            inside[group] -= 1
            return True

        calls = [Call(work, group, group=group) for group in "ab" for _ in range(6)]
        run(Native(*calls), {"": 1, "a": 2, "b": 4})
        assert (max(seen["a"]), max(seen["b"])) == (2, 4)


class TestCancelling:
    async def forever(self):
        await asyncio.sleep(600)

    def cancel(self, call):
        return lambda native: native.cancelled.append(call.task_id)

    def test_running(self):
        call = Call(self.forever)
        run(Native(call, steps=[lambda native: None, self.cancel(call)]))
        assert isinstance(call.error, KeyboardInterrupt)

    def test_waiting(self):
        running, waiting = Call(self.forever), Call(self.forever)
        steps = [lambda native: None, self.cancel(waiting), self.cancel(running)]
        run(Native(running, waiting, steps=steps), {"": 1})
        assert isinstance(waiting.error, KeyboardInterrupt) and isinstance(running.error, KeyboardInterrupt)


class TestStreaming:
    async def count(self, n):
        for i in range(n):
            yield i

    def test_items_arrive_in_order(self):
        call = Call(self.count, 4, num_returns=-1)
        run(Native(call))
        assert call.items == [0, 1, 2, 3] and list(call.value) == []

    def test_waits_for_room(self):
        call = Call(self.count, 3, num_returns=-1, room=1)
        seen = []

        def make_room(native):
            seen.append(len(call.items))
            call.room += 1

        run(Native(call, steps=[lambda native: None, make_room, make_room, make_room]))
        assert call.items == [0, 1, 2] and seen[:2] == [1, 2]

    def test_stops_when_nobody_listens(self):
        call = Call(self.count, 10**9, num_returns=-1, room=2)

        def stop(native):
            call.stopped = True

        run(Native(call, steps=[lambda native: None, stop]))
        assert len(call.items) == 2
