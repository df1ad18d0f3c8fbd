"""Physical operators: each takes bundles from those before it, runs tasks, and queues bundles in order.

An operator knows nothing of the others but their queues; the loop of `executor` asks it to start and tells it what
is ready.
"""

from __future__ import annotations

import functools
import logging
import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import narke
from narke import exceptions
from narke.data.execute import tasks
from narke.data.plan import Bundle, Limits, Work, Works

logger = logging.getLogger("narke.data")


STRAGGLER_TASKS = 3  # tasks that must have ended before one can be called slow
STRAGGLER_S = 10.0  # seconds below which none is


class Queue(deque[Bundle]):
    """Bundles in order, and how many bytes they are."""

    def __init__(self) -> None:
        super().__init__()
        self.size_bytes = 0

    def append(self, bundle: Bundle) -> None:
        """Put one at the end."""
        super().append(bundle)
        self.size_bytes += bundle.size_bytes

    def popleft(self) -> Bundle:
        """Take the first."""
        bundle = super().popleft()
        self.size_bytes -= bundle.size_bytes
        return bundle

    def clear(self) -> None:
        """Drop all."""
        super().clear()
        self.size_bytes = 0


class OpStats:
    """What one operator did: tasks, what came out, seconds that its tasks took, errors that were passed over, and tasks
    that were started twice because they were slow."""

    def __init__(self, name: str):
        self.name = name
        self.tasks = self.blocks = self.rows = self.size_bytes = self.errors = self.repeated = 0
        self.busy_s = self.slowest_s = 0.0
        self.begun_s = self.ended_s = 0.0

    def add(self, bundle: Bundle) -> None:
        """Count a block."""
        self.blocks += 1
        self.rows += bundle.rows
        self.size_bytes += bundle.size_bytes

    def took(self, seconds: float) -> None:
        """Count the time that a block took to make."""
        self.busy_s += seconds
        self.slowest_s = max(self.slowest_s, seconds)
        self.ended_s = time.perf_counter()

    def __str__(self) -> str:
        text = f"{self.name}: {self.tasks} tasks, {self.blocks} blocks, {self.rows} rows, {self.size_bytes} bytes"
        if self.tasks:
            wall = max(0.0, self.ended_s - self.begun_s)
            text += f", {wall:.2f}s wall, {self.busy_s:.2f}s in tasks, slowest block {self.slowest_s:.3f}s"
        text += f", {self.repeated} slow tasks started twice" if self.repeated else ""
        return text + (f", {self.errors} errors passed over" if self.errors else "")


class ErrorBudget:
    """How many blocks may be lost to errors before the execution fails; negative is without end."""

    def __init__(self, most: int):
        self._left = most if most >= 0 else math.inf

    def spend(self, name: str, error: BaseException) -> bool:
        """Whether the error of an operator's task may be passed over."""
        if self._left <= 0:
            return False
        self._left -= 1
        logger.warning("a block of %s was lost to an error, %s more may be: %s", name, self._left, error)
        return True


class Operator:
    """Base: a queue of bundles that are ready for whoever comes next."""

    def __init__(self, name: str, upstreams: list[Operator]):
        self.upstreams = upstreams
        self.outputs = Queue()
        self.stats = OpStats(name)
        self.errors = ErrorBudget(0)
        self.stopped = False

    @property
    def done(self) -> bool:
        """Nothing is queued and nothing more will be."""
        return not self.outputs and self.finished

    @property
    def finished(self) -> bool:
        """Nothing more will be queued."""
        return self.stopped or all(up.done for up in self.upstreams)

    def advance(self) -> None:
        """Move what needs no task."""

    def can_start(self) -> bool:
        """Whether there is a task to start."""
        return False

    def start(self) -> None:
        """Start one task. REQUIRES: can_start()."""

    def running(self) -> Iterable[Any]:
        """What the loop should wait for."""
        return ()

    def on_ready(self, waitable: Any) -> None:
        """One of `running` has something."""

    def queued_bytes(self) -> int:
        """Bytes held back here."""
        return self.outputs.size_bytes

    def stop(self) -> None:
        """Nobody wants more: drop what is queued and running."""
        self.stopped = True
        self.outputs.clear()

    def _emit(self, bundle: Bundle) -> None:
        self.stats.add(bundle)
        self.outputs.append(bundle)


class Source(Operator):
    """Blocks that exist already."""

    def __init__(self, bundles: Iterable[Bundle]):
        super().__init__("Input", [])
        for bundle in bundles:
            self._emit(bundle)


class Held(Operator):
    """Keeps all blocks of the right side of a join: how the rest of the plan runs is decided when they are there."""

    def __init__(self, upstream: Operator):
        super().__init__("JoinSide", [upstream])
        self.bundles: list[Bundle] = []

    def advance(self) -> None:
        queue = self.upstreams[0].outputs
        while queue:
            self.stats.add(queue[0])
            self.bundles.append(queue.popleft())


class Attempt:
    """One run of a task: its place in the order, what it has made, when it began, how to start it again."""

    def __init__(self, index: int, again: Callable[[], Any] | None):
        self.index, self.again = index, again
        self.made = Queue()
        self.begun_s = time.perf_counter()


class Ordered(Operator):
    """Base of operators with tasks: what comes out keeps the order in which the tasks were started."""

    def __init__(self, name: str, upstreams: list[Operator], options: dict[str, Any], cpus: float):
        super().__init__(name, upstreams)
        self.options = options
        self.cpus = cpus
        self._calls: dict[Any, Any] = {}  # describing a function anew for each task costs more than the task
        self._running: dict[Any, Attempt] = {}
        self._first: dict[int, Attempt] = {}
        self._rivals: dict[int, Any] = {}
        self._touched: set[int] = set()  # places of tasks of which something has been passed on
        self._took_s: deque[float] = deque(maxlen=101)
        self._held_bytes = 0
        self._started = self._emitting = 0

    @property
    def finished(self) -> bool:
        return self.stopped or (
            super().finished and not self._running and not self._first and not self._has_work()
        )

    def _has_work(self) -> bool:
        return False

    def running(self) -> Iterable[Any]:
        return list(self._running)

    @property
    def in_flight(self) -> int:
        """Tasks that have not ended."""
        return len(self._running)

    def output_estimate(self) -> int:
        """Bytes that one task is likely to make: the mean of those so far."""
        ended = max(1, self.stats.tasks - len(self._running))
        return (self.stats.size_bytes + self._held_bytes) // ended

    def queued_bytes(self) -> int:
        return super().queued_bytes() + self._held_bytes + len(self._running) * self.output_estimate()

    def _remote(self, function: Callable[..., Any]) -> Any:
        """One of `tasks`, that gives its blocks as they are made."""
        if function not in self._calls:
            self._calls[function] = tasks.remote(function, {**self.options, "num_returns": "streaming"})
        return self._calls[function]

    def _submit(self, start: Callable[[], Any], repeatable: bool = False) -> Any:
        """Start the next task by `start`, which gives its generator."""
        attempt = Attempt(self._started, start if repeatable else None)
        generator = start()
        self._running[generator] = self._first[self._started] = attempt
        self._started += 1
        self.stats.tasks += 1
        self.stats.begun_s = self.stats.begun_s or time.perf_counter()
        return generator

    def speculate(self, factor: float) -> bool:
        """Start the task that has run longest a second time, if it is slow against the others that have ended.

        Args:
            factor: times the median from which it is.

        Returns:
            whether one was started. Whichever run ends first counts; nothing of a run that has a rival is passed on
            before.
        """
        if factor <= 0 or len(self._took_s) < STRAGGLER_TASKS or self.can_start() or self.stopped:
            return False
        alone = [a for a in self._running.values() if not {a.index} & (self._rivals.keys() | self._touched)]
        slow = min(alone, key=lambda a: a.begun_s, default=None)
        usual_s = max(STRAGGLER_S, factor * statistics.median(self._took_s))
        if slow is None or slow.again is None or time.perf_counter() - slow.begun_s < usual_s:
            return False
        twin = slow.again()
        self._running[twin] = Attempt(slow.index, None)
        self._rivals[slow.index] = twin
        self.stats.repeated += 1
        return True

    def on_ready(self, waitable: Any) -> None:
        attempt = self._running.get(waitable)
        if attempt is None:
            return
        block = next(waitable, None)
        if block is None:
            self._end(waitable, attempt)
        else:
            self._take(block, waitable, attempt)
        self._release()

    def _end(self, generator: Any, attempt: Attempt) -> None:
        del self._running[generator]
        self._took_s.append(time.perf_counter() - attempt.begun_s)
        self._ended(generator)
        if attempt.index not in self._rivals:
            return
        del self._rivals[attempt.index]
        self._first[attempt.index] = attempt
        for rival in [g for g, a in self._running.items() if a.index == attempt.index]:
            self._held_bytes -= self._running.pop(rival).made.size_bytes
            narke.cancel(rival, force=False)
            self._ended(rival)

    def _take(self, block: Any, generator: Any, attempt: Attempt) -> None:
        try:
            bundle, seconds = described_bundle(block, generator)
        except exceptions.RayTaskError as error:
            if not self.errors.spend(self.stats.name, error):
                raise
            self.stats.errors += 1
            return
        self.stats.took(seconds)
        attempt.made.append(bundle)
        self._held_bytes += bundle.size_bytes

    def _ended(self, waitable: Any) -> None:
        """A task has ended."""

    def _release(self) -> None:
        """Queue what the first task that has not been emptied made, and go on to the next when it has ended."""
        live = {attempt.index for attempt in self._running.values()}
        while self._emitting in self._first and self._emitting not in self._rivals:
            made = self._first[self._emitting].made
            if made:
                self._touched.add(self._emitting)
            while made:
                bundle = made.popleft()
                self._held_bytes -= bundle.size_bytes
                self._emit(bundle)
            if self._emitting in live:
                return
            del self._first[self._emitting]
            self._touched.discard(self._emitting)
            self._emitting += 1

    def stop(self) -> None:
        super().stop()
        for generator in self._running:
            narke.cancel(generator, force=False)
        self._running.clear()
        self._first.clear()
        self._held_bytes = 0


def described_bundle(block: Any, generator: Any) -> tuple[Bundle, float]:
    """The bundle of a block and of what the task says of it next, and the seconds it took to make.

    Raises:
        the task's error, which takes the place of its last block.
    """
    about = next(generator, None)
    if about is None:
        narke.get(block)
        raise RuntimeError(
            "a task of the dataset ended after a block without describing it; please report this"
        )
    known, seconds = narke.get(about)
    return Bundle(block, *known), seconds


class TaskOp(Ordered):
    """A chain over bundles, or over the tasks of a data source, in tasks.

    Args:
        chain: reference to the `Chain`.
        works: read tasks; None takes bundles from the operator before.
        limit: most tasks at once.
        min_rows, min_bytes: bundles are put together until they have so many rows and bytes.
        repeatable: a task may run twice at the same time. args_fn: gives further options of each task.
    """

    def __init__(
        self,
        name: str,
        upstreams: list[Operator],
        options: dict[str, Any],
        cpus: float,
        chain: Any,
        *,
        works: Iterable[Any] | None = None,
        limit: int | None = None,
        min_rows: int | None = None,
        min_bytes: int | None = None,
        repeatable: bool = True,
        args_fn: Callable[[], dict[str, Any]] | None = None,
    ):
        super().__init__(name, upstreams, options, cpus)
        self._chain, self._repeatable, self._args_fn = chain, repeatable, args_fn
        self._works = None if works is None else deque(works)
        self._limit = limit
        self._groups = Grouper(min_rows, min_bytes)

    def advance(self) -> None:
        if self._works is None and not self.stopped:
            self._groups.fill(self.upstreams[0])

    def _has_work(self) -> bool:
        return self._groups.holds_any if self._works is None else bool(self._works)

    def can_start(self) -> bool:
        free = self._limit is None or self.in_flight < self._limit
        return free and not self.stopped and bool(self._groups.ready if self._works is None else self._works)

    def _remote(self, function: Callable[..., Any]) -> Any:
        if self._args_fn is None:
            return super()._remote(function)
        return tasks.remote(function, {**self.options, **self._args_fn(), "num_returns": "streaming"})

    def start(self) -> None:
        if self._works is not None:
            call, args = self._remote(tasks.run_read), [self._works.popleft()]
        else:
            call, args = self._remote(tasks.run_map), [b.ref for b in self._groups.ready.popleft()]
        self._submit(functools.partial(call.remote, self._chain, self._started, *args), self._repeatable)

    def queued_bytes(self) -> int:
        return super().queued_bytes() + self._groups.size_bytes()


class Grouper:
    """Puts bundles together until they have `min_rows` rows and `min_bytes` bytes; None asks for none.

    It holds one group ahead at most, so that the queue before it feels the back-pressure.
    """

    def __init__(self, min_rows: int | None, min_bytes: int | None = None):
        self._min_rows, self._min_bytes = min_rows or 0, min_bytes or 0
        self._part: list[Bundle] = []
        self.ready: deque[list[Bundle]] = deque()

    def fill(self, upstream: Operator) -> None:
        """Take bundles until a group is ready; the last group may be small."""
        while upstream.outputs and not self.ready:
            self._part.append(upstream.outputs.popleft())
            enough = sum(b.rows for b in self._part) >= self._min_rows
            if enough and sum(b.size_bytes for b in self._part) >= self._min_bytes:
                self._close()
        if upstream.done and self._part:
            self._close()

    @property
    def holds_any(self) -> bool:
        """Whether a bundle is held, ready or not."""
        return bool(self.ready or self._part)

    def size_bytes(self) -> int:
        """Bytes held."""
        return sum(b.size_bytes for group in [self._part, *self.ready] for b in group)

    def _close(self) -> None:
        self.ready.append(self._part)
        self._part = []


class LimitOp(Ordered):
    """The first rows; the block in which they end is cut by a task. Then it stops everything before it."""

    def __init__(self, upstreams: list[Operator], rows: int, options: dict[str, Any]):
        super().__init__(f"Limit({rows})", upstreams, options, 0)
        self._left = rows
        self._cut: Bundle | None = None

    def advance(self) -> None:
        queue = self.upstreams[0].outputs
        while queue and self._left > 0:
            bundle = queue.popleft()
            if bundle.rows <= self._left:
                self._left -= bundle.rows
                self._emit(bundle)
            else:
                self._cut = bundle
                break
        if self._left == 0 or self._cut is not None:
            stop_all(self.upstreams)

    def _has_work(self) -> bool:
        return self._cut is not None

    def can_start(self) -> bool:
        return self._cut is not None

    def start(self) -> None:
        cut, self._cut = self._cut, None
        assert cut is not None
        call, rows = self._remote(tasks.run_slices), [(0, self._left)]
        self._submit(functools.partial(call.remote, self._started, rows, cut.ref))
        self._left = 0


def stop_all(operators: list[Operator]) -> None:
    """Stop operators and everything before them."""
    for operator in operators:
        if not operator.stopped:
            operator.stop()
        stop_all(operator.upstreams)


class UnionOp(Operator):
    """Blocks of the first operator, then of the next."""

    def advance(self) -> None:
        for up in self.upstreams:
            while up.outputs:
                self._emit(up.outputs.popleft())
            if not up.done:
                return


class GatherOp(Ordered):
    """Collects all blocks, lets a planner turn them into tasks, and runs those.

    Args:
        limits: what the planner goes by, and the options of the tasks.
    """

    def __init__(self, name: str, upstreams: list[Operator], limits: Limits, cpus: float, planner: Any):
        super().__init__(name, upstreams, dict(limits.options), cpus)
        self._planner, self._limits = planner, limits
        self._held: list[list[Bundle]] = [[] for _ in upstreams]
        self._works: Works | None = None
        self._next: Work | None = None
        self._inner: set[Any] = set()

    def advance(self) -> None:
        if self.stopped or self._works is not None:
            return
        for held, up in zip(self._held, self.upstreams, strict=True):
            while up.outputs:
                held.append(up.outputs.popleft())
        if all(up.done for up in self.upstreams):
            self._works = self._planner.plan(self._held, self._limits)
            self._held = []
            self._next = next(self._works, None)

    def _has_work(self) -> bool:
        return self._works is None or self._next is not None

    def can_start(self) -> bool:
        return self._next is not None and not self.stopped

    def start(self) -> None:
        work = self._next
        assert work is not None and self._works is not None
        if not work.returns:
            self._next = next(self._works, None)
            self._submit(functools.partial(self._remote(work.function).remote, *work.args), True)
            return
        key = (work.function, work.returns)
        if key not in self._calls:
            self._calls[key] = tasks.remote(work.function, {**self.options, "num_returns": work.returns})
        made = self._calls[key].remote(*work.args)
        refs = list(made) if work.returns > 1 else [made]
        self.stats.tasks += 1
        self._inner.add(refs[0])
        try:
            self._next = self._works.send(refs)
        except StopIteration:
            self._next = None

    def running(self) -> Iterable[Any]:
        return [*super().running(), *self._inner]

    @property
    def in_flight(self) -> int:
        return super().in_flight + len(self._inner)

    def on_ready(self, waitable: Any) -> None:
        if waitable in self._inner:
            self._inner.discard(waitable)
        else:
            super().on_ready(waitable)

    def stop(self) -> None:
        super().stop()
        for ref in self._inner:
            narke.cancel(ref, force=False)
        self._inner.clear()
