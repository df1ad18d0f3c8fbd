"""Spread calls over a fixed set of actors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import narke
from narke.util.annotations import DeveloperAPI

__all__ = ["ActorPool"]

V = TypeVar("V")
Call = Callable[[Any, Any], Any]


@DeveloperAPI
class ActorPool:
    """Keeps every actor of a set busy with one call at a time; further calls wait in the pool.

    Args:
        actors: handles of the actors.
    """

    def __init__(self, actors: Iterable[Any]) -> None:
        self._idle: deque[Any] = deque(actors)
        self._waiting: deque[tuple[int, Call, Any]] = deque()
        self._running: dict[Any, tuple[int, Any, Any]] = {}
        self._ref_of: dict[int, Any] = {}
        self._submitted = 0
        self._next_index = 0

    def map(self, fn: Callable[[Any, V], Any], values: Iterable[V]) -> Iterator[Any]:
        """Call ``fn(actor, value)`` for every value; yield the results in the order of the values.

        Results of earlier submissions that nobody fetched are dropped.
        """
        self._drop_unfetched()
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next)

    def map_unordered(self, fn: Callable[[Any, V], Any], values: Iterable[V]) -> Iterator[Any]:
        """Like `map`, but yield each result as soon as it is there."""
        self._drop_unfetched()
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next_unordered)

    def submit(self, fn: Callable[[Any, V], Any], value: V) -> None:
        """Call ``fn(actor, value)`` on the next idle actor; `fn` returns what a method's call gave."""
        index = self._submitted
        self._submitted += 1
        self._waiting.append((index, fn, value))
        self._dispatch()

    def has_next(self) -> bool:
        """True while a submitted call's result was not fetched."""
        return bool(self._ref_of or self._waiting)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """Return the next result in order of submission.

        Args:
            timeout: seconds to wait; None waits for ever.
            ignore_if_timedout: on a timeout give up this result for good and free its actor.

        Raises:
            StopIteration: no call is outstanding.
            ValueError: the next result was already taken by `get_next_unordered`.
            TimeoutError: no result within `timeout`.
        """
        if not self.has_next():
            raise StopIteration("no more results: every submitted call was fetched")
        if self._next_index >= self._submitted:
            raise ValueError("get_next is not allowed after get_next_unordered returned later results")
        if self._next_index not in self._ref_of:
            raise RuntimeError(f"call {self._next_index} cannot start: the pool has no actor left; push one")
        ref = self._ref_of[self._next_index]
        ready, _ = narke.wait([ref], num_returns=1, timeout=timeout)
        if not ready:
            self._raise_timeout(ref, timeout, ignore_if_timedout)
        return narke.get(self._finish(ref))

    def get_next_unordered(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """Return whichever result is there first; parameters and errors as in `get_next`."""
        if not self.has_next():
            raise StopIteration("no more results: every submitted call was fetched")
        if not self._running:
            raise RuntimeError("no call can start: the pool has no actor left; push one")
        ready, _ = narke.wait(list(self._running), num_returns=1, timeout=timeout)
        if not ready:
            self._raise_timeout(next(iter(self._running)), timeout, ignore_if_timedout)
        return narke.get(self._finish(ready[0]))

    def has_free(self) -> bool:
        """True when an actor is idle and no call waits for one."""
        return bool(self._idle) and not self._waiting

    def pop_idle(self) -> Any | None:
        """Take an idle actor out of the pool; None when all are busy."""
        return self._idle.popleft() if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Add an actor to the pool.

        Raises:
            ValueError: the actor is in the pool already.
        """
        if actor in self._idle or any(actor == busy for _, busy, _ in self._running.values()):
            raise ValueError(f"{actor!r} already belongs to this pool")
        self._idle.append(actor)
        self._dispatch()

    def _dispatch(self) -> None:
        while self._idle and self._waiting:
            index, fn, value = self._waiting.popleft()
            actor = self._idle.popleft()
            try:
                ref = fn(actor, value)
            except BaseException:
                self._idle.appendleft(actor)
                raise
            first = ref[0] if isinstance(ref, list) else ref  # a method with several returns gives a list
            self._running[first] = (index, actor, ref)
            self._ref_of[index] = first

    def _finish(self, ref: Any) -> Any:
        """Forget a call and give its actor the next one; returns what the call gave, a reference or a list of them."""
        index, actor, given = self._running.pop(ref)
        del self._ref_of[index]
        self._next_index = max(self._next_index, index + 1)
        self._idle.append(actor)
        self._dispatch()
        return given

    def _raise_timeout(self, ref: Any, timeout: float | None, ignore: bool) -> None:
        index = self._running[ref][0]
        message = f"call {index} of the pool gave no result within {timeout} s"
        if ignore:
            self._finish(ref)
            message += "; its result is dropped"
        raise TimeoutError(message)

    def _drop_unfetched(self) -> None:
        while self.has_next():
            for ref in list(self._running):
                self._finish(ref)
        self._next_index = self._submitted

    def _results(self, fetch: Callable[[], Any]) -> Iterator[Any]:
        while self.has_next():
            yield fetch()
