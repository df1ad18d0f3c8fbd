"""Actors with coroutine methods: an event loop on the actor's main thread that runs many calls at once."""

from __future__ import annotations

import asyncio
import collections
import inspect
import selectors
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from narke._native import ObjectRef

__all__ = ["before_sleep", "direct", "forget_direct", "is_running", "owns", "run", "until_polled"]

_TICK_S = 0.1  # the engine's own timers are looked after at least so often
_runner: _Runner | None = None


def is_running() -> bool:
    """Whether the caller is on the event loop of an async actor."""
    return _runner is not None and asyncio._get_running_loop() is _runner.loop


def direct(method: Any) -> Any:
    """Mark a method of an async actor that is handed its calls instead of running as one.

    The method gets the call (args, kwargs, finish, fail, yield_value, has_room, is_stopped, task_id) on the event loop
    and answers it when it likes, outside of all concurrency limits. What it returns is either None, or has a
    ``cancel()`` for a call that may be cancelled; then `forget_direct` is due once the call is answered.
    """
    method.__narke_direct__ = True
    return method


def forget_direct(task_id: bytes) -> None:
    """A call whose direct method gave something to cancel is answered."""
    if _runner is not None:
        _runner.direct_calls.pop(task_id, None)


async def until_polled() -> None:
    """Wait until something has arrived: after that, has_room() and is_stopped() of a call may say otherwise."""
    assert _runner is not None, "only on the event loop of an async actor"
    await _runner._until_polled()


def before_sleep(callback: Callable[[], object]) -> None:
    """Have `callback` called once, when the event loop has nothing more to do in its turn; on the loop.

    Args:
        callback: must not raise, nor schedule anything on the loop.
    """
    assert _runner is not None, "only on the event loop of an async actor"
    _runner.before_sleep(callback)


def owns(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop is that of the async actor this process is."""
    return _runner is not None and _runner.loop is loop


def construct(native: Any, limits: dict[str, int], cls: type, *args: Any, **kwargs: Any) -> Any:
    """An async actor's instance: its constructor runs on the event loop, and may start tasks there.

    Args:
        native: the extension.
        limits: how many calls of each concurrency group run at once; ``""`` is the group of methods without one.
        cls: the actor's class, which gets the other arguments.
    """
    global _runner
    _runner = _Runner(native, limits)
    return _runner.construct(lambda: cls(*args, **kwargs))


def run(native: Any) -> None:
    """Run the calls of the actor that `construct` made until it must leave."""
    global _runner
    assert _runner is not None
    try:
        _runner.run()
    finally:
        _runner = None


def exit_soon() -> None:
    """End the actor, whatever its calls do; on the event loop."""
    assert _runner is not None, "only on the event loop of an async actor"
    _runner.loop.call_soon(_runner.exit)


class _Selector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]  # a class of this platform
    """Tells the extension of the loop's turns: what a turn sends leaves together when it ends."""

    def __init__(self, native: Any) -> None:
        super().__init__()
        self._native = native
        self.due: list[Callable[[], object]] = []

    def select(self, timeout: float | None = None) -> Any:
        """Sleep until something can be done."""
        if self.due:
            due, self.due = self.due, []
            for callback in due:
                callback()
        self._native.end_turn()
        events = super().select(timeout)
        self._native.begin_turn()
        return events


def _new_loop(selector: _Selector) -> asyncio.AbstractEventLoop:
    """An event loop over the selector, unless the program has chosen loops of another kind."""
    if type(asyncio.get_event_loop_policy()) is asyncio.DefaultEventLoopPolicy:
        return asyncio.SelectorEventLoop(selector)
    return asyncio.new_event_loop()


class _Group:
    """A concurrency group: what runs of it and what waits."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0
        self.waiting: collections.deque[Any] = collections.deque()


class _Runner:
    """Owns the loop; starts each call that arrives and answers it when its coroutine ends."""

    def __init__(self, native: Any, limits: dict[str, int]) -> None:
        from narke._private import readiness  # which imports this module

        self._native = native
        self._deliver = readiness.deliver
        self._groups = {name: _Group(limit) for name, limit in limits.items()}
        self._groups.setdefault("", _Group(1000))
        self._running: dict[bytes, asyncio.Task[None]] = {}
        self.direct_calls: dict[bytes, Any] = {}
        self._cancelled: set[bytes] = set()
        self._is_exiting = False
        self._room_waiters: list[asyncio.Future[None]] = []
        self._selector = _Selector(native)
        self.loop = _new_loop(self._selector)
        self._tells_turns = getattr(self.loop, "_selector", None) is self._selector

    def construct(self, make: Callable[[], Any]) -> Any:
        async def made() -> Any:
            return make()

        asyncio.set_event_loop(self.loop)
        return self.loop.run_until_complete(made())

    def exit(self) -> None:
        self._is_exiting = True
        self._native.exit_now()
        self.loop.stop()

    def run(self) -> None:
        fd = self._native.poll_fd()
        self.loop.add_reader(fd, self._poll)
        self.loop.call_soon(self._tick)
        try:
            self.loop.run_forever()
        finally:
            self.loop.remove_reader(fd)
            self._end()
            self._native.end_turn()

    def _tick(self) -> None:
        self._poll()
        self.loop.call_later(_TICK_S, self._tick)

    def before_sleep(self, callback: Callable[[], object]) -> None:
        if self._tells_turns:
            self._selector.due.append(callback)
        else:
            self.loop.call_soon(callback)

    def _poll(self) -> None:
        for call in self._native.poll_now():
            self._arrived(call)
        for token in self._native.take_ready():
            self._deliver(token)
        for task_id in self._native.take_cancelled():
            self._cancel(task_id)
        waiters, self._room_waiters = self._room_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self._native.is_leaving():
            self.loop.stop()

    def _arrived(self, call: Any) -> None:
        if getattr(call.target, "__narke_direct__", False):
            return self._hand_over(call)
        group = self._groups.get(_group_of(call)) or self._groups[""]
        if group.running < group.limit:
            self._start(call, group)
        else:
            group.waiting.append(call)

    def _hand_over(self, call: Any) -> None:
        try:
            cancellable = call.target(call)
        except BaseException as error:
            call.fail(error)
            return
        if cancellable is not None:
            self.direct_calls[call.task_id] = cancellable

    def _start(self, call: Any, group: _Group) -> None:
        group.running += 1
        task = self.loop.create_task(self._answer(call, group))
        self._running[call.task_id] = task

    async def _answer(self, call: Any, group: _Group) -> None:
        try:
            await self._execute(call)
        finally:
            self._running.pop(call.task_id, None)
            self._cancelled.discard(call.task_id)
            group.running -= 1
            if group.waiting and group.running < group.limit:
                self._start(group.waiting.popleft(), group)

    async def _execute(self, call: Any) -> None:
        from narke._private.execution import ActorExit
        from narke.exceptions import AsyncioActorExit

        try:
            call.enter()
            result = call.target(*call.args, **call.kwargs)
            if inspect.isasyncgen(result):
                await self._stream(call, result)
                result = None
            elif inspect.isawaitable(result) and not isinstance(result, ObjectRef):
                result = await _drive(call, result)
        except AsyncioActorExit:
            call.fail(ActorExit(0))
        except asyncio.CancelledError as error:
            call.fail(self._why_cancelled(call, error))
        except BaseException as error:
            call.fail(error)
        else:
            self._finish(call, result)

    def _why_cancelled(self, call: Any, error: asyncio.CancelledError) -> BaseException:
        from narke._private.execution import ActorExit

        if call.task_id in self._cancelled:
            return KeyboardInterrupt()
        return ActorExit(0) if self._is_exiting else RuntimeError(f"the coroutine was cancelled: {error}")

    def _finish(self, call: Any, result: Any) -> None:
        try:
            call.enter()
            call.finish(iter(()) if call.num_returns == -1 and result is None else result)
        except BaseException as error:  # such as a result that does not pickle
            call.fail(error)

    async def _stream(self, call: Any, generator: Any) -> None:
        """Send what an async generator yields, waiting while the receiver has enough."""
        try:
            while not call.is_stopped():
                try:
                    value = await _drive(call, generator.__anext__())
                except StopAsyncIteration:
                    return
                has_room = call.yield_value(value)
                while not has_room and not call.is_stopped():
                    await self._until_polled()
                    has_room = call.has_room()
        finally:
            await generator.aclose()

    async def _until_polled(self) -> None:
        waiter = self.loop.create_future()
        self._room_waiters.append(waiter)
        await waiter

    def _cancel(self, task_id: bytes) -> None:
        direct_call = self.direct_calls.pop(task_id, None)
        if direct_call is not None:
            direct_call.cancel()
            return
        task = self._running.get(task_id)
        if task is not None:
            self._cancelled.add(task_id)
            task.cancel()
            return
        for group in self._groups.values():
            for call in group.waiting:
                if call.task_id == task_id:
                    group.waiting.remove(call)
                    call.fail(KeyboardInterrupt())
                    return

    def _end(self) -> None:
        """Let what still runs see its cancellation, then close the loop."""
        for task in self._running.values():
            task.cancel()
        if self._running:
            self.loop.run_until_complete(asyncio.wait(list(self._running.values()), timeout=1.0))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


def _group_of(call: Any) -> str:
    if call.group:
        return str(call.group)
    options = getattr(call.target, "__narke_method_options__", None) or {}
    return options.get("concurrency_group") or ""


@types.coroutine
def _drive(call: Any, awaitable: Any) -> Generator[Any, Any, Any]:
    """Await something so that, whenever it goes on, facts about the caller are those of this call."""
    steps = awaitable if isinstance(awaitable, Coroutine) else awaitable.__await__()
    throw: BaseException | None = None
    value = None
    while True:
        call.enter()
        try:
            yielded = steps.throw(throw) if throw is not None else steps.send(value)
        except StopIteration as end:
            return end.value
        throw = None
        try:
            value = yield yielded
        except BaseException as error:
            throw = error
