"""A pool of actors behind the interface of ``multiprocessing.pool``."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from multiprocessing import TimeoutError
from types import TracebackType
from typing import Any

import narke

__all__ = [
    "RAY_ADDRESS_ENV",
    "AsyncResult",
    "IMapIterator",
    "OrderedIMapIterator",
    "Pool",
    "PoolActor",
    "PoolTaskError",
    "ResultThread",
    "UnorderedIMapIterator",
    "div_round_up",
    "ray_get_if_needed",
    "ray_put_if_needed",
]

RAY_ADDRESS_ENV = "RAY_ADDRESS"
_CHUNKS_PER_PROCESS = 4
_PUT_ARGUMENT_BYTES = 100 * 1024
_POLL_S = 0.1
_TERMINATE_TIMEOUT_S = 10.0

_log = logging.getLogger(__name__)

Callback = Callable[[Any], None]
Call = tuple[tuple[Any, ...], dict[str, Any]]


class PoolTaskError(Exception):
    """Stands for the result of a call that failed.

    Args:
        underlying: what the call raised.
    """

    def __init__(self, underlying: BaseException) -> None:
        super().__init__(underlying)
        self.underlying = underlying


class PoolActor:
    """Runs the calls of a pool; an actor stands in for a process.

    Args:
        initializer: called once when the actor starts.
        initargs: its arguments.
    """

    def __init__(
        self, initializer: Callable[..., Any] | None = None, initargs: Iterable[Any] | None = None
    ) -> None:
        if initializer is not None:
            initializer(*(initargs or ()))

    def ping(self) -> None:
        """Return once the initializer has run."""

    def run_batch(self, func: Callable[..., Any], batch: list[Call]) -> list[Any]:
        """Call `func` with each ``(args, kwargs)``; a `PoolTaskError` stands for a call that raised."""
        return [_result_of(func, args or (), kwargs or {}) for args, kwargs in batch]


def _result_of(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        arguments = [ray_get_if_needed(argument) for argument in args]
        return func(*arguments, **{name: ray_get_if_needed(value) for name, value in kwargs.items()})
    except Exception as error:
        return PoolTaskError(error)


def div_round_up(a: int, b: int) -> int:
    """Return a / b rounded up to a whole number."""
    return -(-a // b)


def ray_get_if_needed(obj: Any) -> Any:
    """Return the value of a reference, and anything else as it is."""
    return narke.get(obj) if isinstance(obj, narke.ObjectRef) else obj


def ray_put_if_needed(
    obj: Any,
    registry: list[tuple[Any, Any]] | None = None,
    registry_hashable: dict[Hashable, Any] | None = None,
) -> Any:
    """Return a reference to `obj`, small values and references as they are.

    Args:
        obj: the value.
        registry: pairs of unhashable values stored before and their references; extended.
        registry_hashable: hashable values stored before and their references; extended.
    """
    if isinstance(obj, narke.ObjectRef) or _is_small(obj):
        return obj
    known = _find_stored(obj, registry, registry_hashable)
    if known is not None:
        return known
    ref = narke.put(obj)
    if registry_hashable is not None and isinstance(obj, Hashable):
        registry_hashable[obj] = ref
    elif registry is not None:
        registry.append((obj, ref))
    return ref


def _is_small(obj: Any) -> bool:
    """True for values whose shallow size says that sending them along costs less than storing them."""
    size = getattr(obj, "nbytes", None)
    return obj.__sizeof__() < _PUT_ARGUMENT_BYTES if size is None else size < _PUT_ARGUMENT_BYTES


def _find_stored(
    obj: Any, registry: list[tuple[Any, Any]] | None, registry_hashable: dict[Hashable, Any] | None
) -> Any | None:
    if registry_hashable and isinstance(obj, Hashable):
        return registry_hashable.get(obj)
    return next((ref for stored, ref in registry or () if stored is obj), None)


class ResultThread(threading.Thread):
    """Waits for the chunks of a call in the background and runs its callbacks.

    Args:
        object_refs: one reference per chunk known so far.
        single_result: the call is one function call, its result no list.
        callback: called with the result when every call succeeded.
        error_callback: called with the first error otherwise.
        total_object_refs: how many references there will be; None when all are known.
    """

    END_SENTINEL = None

    def __init__(
        self,
        object_refs: list[Any],
        single_result: bool = False,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
        total_object_refs: int | None = None,
    ) -> None:
        super().__init__(name="narke-pool-results", daemon=True)
        self._changed = threading.Condition()
        self._single_result = single_result
        self._callback = callback
        self._error_callback = error_callback
        self._total = len(object_refs) if total_object_refs is None else total_object_refs
        self._refs: list[Any] = []
        self._pending: dict[Any, int] = {}
        self._results: dict[int, list[Any]] = {}
        self._ready_order: deque[int] = deque()
        self._done = threading.Event()
        for ref in object_refs:
            self.add_object_ref(ref)

    def add_object_ref(self, object_ref: Any) -> None:
        """Add a chunk; `END_SENTINEL` says that no more will come."""
        with self._changed:
            if object_ref is self.END_SENTINEL:
                self._total = len(self._refs)
            else:
                self._pending[object_ref] = len(self._refs)
                self._refs.append(object_ref)
            self._changed.notify_all()

    def run(self) -> None:
        """Collect every chunk, then call back."""
        while len(self._results) < self._total:
            self._collect(self._next_pending())
        self._call_back()
        self._done.set()

    def _next_pending(self) -> list[Any]:
        with self._changed:
            while not self._pending and len(self._results) < self._total:
                self._changed.wait(_POLL_S)
            return list(self._pending)

    def _collect(self, refs: list[Any]) -> None:
        if not refs:
            return
        more_to_come = len(self._refs) < self._total
        ready, _ = narke.wait(refs, num_returns=1, timeout=_POLL_S if more_to_come else None)
        for ref in ready:
            chunk = _chunk_results(ref)
            with self._changed:
                index = self._pending.pop(ref)
                self._results[index] = chunk
                self._ready_order.append(index)
                self._changed.notify_all()

    def _call_back(self) -> None:
        errors = [result for chunk in self.results() for result in chunk if isinstance(result, PoolTaskError)]
        if errors and self._error_callback is not None:
            self._error_callback(errors[0].underlying)
        elif not errors and self._callback is not None:
            flat = [result for chunk in self.results() for result in chunk]
            self._callback(flat[0] if self._single_result else flat)

    def wait_done(self, timeout: float | None) -> bool:
        """Wait until everything was collected and the callbacks ran; False after `timeout` seconds."""
        return self._done.wait(timeout)

    def got_error(self) -> bool:
        """True when a call that was collected failed."""
        with self._changed:
            chunks = list(self._results.values())
        return any(isinstance(result, PoolTaskError) for chunk in chunks for result in chunk)

    def result(self, index: int) -> list[Any]:
        """The results of a chunk that was collected."""
        return self._results[index]

    def results(self) -> list[list[Any]]:
        """The results of every chunk collected so far, in order of submission."""
        with self._changed:
            return [self._results[index] for index in sorted(self._results)]

    def next_ready_index(self, timeout: float | None = None) -> int:
        """Return the index of the chunk that was collected next.

        Raises:
            multiprocessing.TimeoutError: none within `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._ready_order, timeout):
                raise TimeoutError(f"no chunk of the pool was ready within {timeout} s")
            return self._ready_order.popleft()


def _chunk_results(ref: Any) -> list[Any]:
    """The results of a chunk; an actor that died stands for one failed call."""
    try:
        return narke.get(ref)
    except Exception as error:
        return [PoolTaskError(error)]


class AsyncResult:
    """The outcome of a call that runs in the background.

    Args:
        chunk_object_refs: one reference per chunk.
        callback: called with the result when every call succeeded.
        error_callback: called with the first error otherwise.
        single_result: the call is one function call, its result no list.
    """

    def __init__(
        self,
        chunk_object_refs: list[Any],
        callback: Callback | None = None,
        error_callback: Callback | None = None,
        single_result: bool = False,
    ) -> None:
        self._single_result = single_result
        self._refs = chunk_object_refs
        self._results: list[Any] | None = None
        self._thread: ResultThread | None = None
        if callback is not None or error_callback is not None:
            self._thread = ResultThread(chunk_object_refs, single_result, callback, error_callback)
            self._thread.start()

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the outcome, at most `timeout` seconds."""
        self._is_done(timeout)

    def get(self, timeout: float | None = None) -> Any:
        """Return the result, or raise what the first failed call raised.

        Raises:
            multiprocessing.TimeoutError: no outcome within `timeout` seconds.
        """
        if not self._is_done(timeout):
            raise TimeoutError(f"the pool gave no result within {timeout} s")
        results = self._collected()
        for result in results:
            if isinstance(result, PoolTaskError):
                raise result.underlying
        return results[0] if self._single_result else results

    def ready(self) -> bool:
        """True once the outcome is there."""
        return self._is_done(0)

    def successful(self) -> bool:
        """True when no call failed.

        Raises:
            ValueError: the outcome is not there yet.
        """
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return not any(isinstance(result, PoolTaskError) for result in self._collected())

    def _is_done(self, timeout: float | None) -> bool:
        """Wait for the chunks, and for the callbacks where there are some."""
        if self._thread is not None:
            return self._thread.wait_done(timeout)
        if not self._refs or self._results is not None:
            return True
        _, running = narke.wait(self._refs, num_returns=len(self._refs), timeout=timeout)
        return not running

    def _collected(self) -> list[Any]:
        if self._results is None:
            self._results = [result for ref in self._refs for result in _chunk_results(ref)]
        return self._results


class IMapIterator:
    """Results of a function over an iterable, which is read only as fast as results are taken.

    Args:
        pool: the pool.
        func: the function.
        iterable: its arguments.
        chunksize: calls per message to an actor.
    """

    def __init__(
        self, pool: Pool, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> None:
        self._chunksize = 1 if chunksize is None else chunksize
        if self._chunksize < 1:
            raise ValueError(f"chunksize must be at least 1, got {chunksize}")
        self._pool = pool
        self._func = pool._shared_function(func)
        self._calls = _batches(((item,), {}) for item in iterable)(self._chunksize)
        self._in_flight: deque[Any] = deque()
        self._results: deque[Any] = deque()
        self._fill()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result, a `PoolTaskError` for a call that failed.

        Raises:
            StopIteration: there are no more.
            multiprocessing.TimeoutError: none within `timeout` seconds.
        """
        if not self._results:
            self._fill()
            if not self._in_flight:
                raise StopIteration
            self._results.extend(_chunk_results(self._take_ready(timeout)))
            self._fill()
        return self._results.popleft()

    def _fill(self) -> None:
        """Keep every actor busy and one chunk ahead."""
        room = 2 * self._pool._processes - len(self._in_flight)
        for batch in itertools.islice(self._calls, max(room, 0)):
            self._in_flight.append(self._pool._run_batch(self._func, batch))

    def _take_ready(self, timeout: float | None) -> Any:
        candidates = self._candidates()
        ready, _ = narke.wait(candidates, num_returns=1, timeout=timeout)
        if not ready:
            raise TimeoutError(f"the pool gave no result within {timeout} s")
        self._in_flight.remove(ready[0])
        return ready[0]

    def _candidates(self) -> list[Any]:
        raise NotImplementedError("use OrderedIMapIterator or UnorderedIMapIterator")


class OrderedIMapIterator(IMapIterator):
    """Yields results in the order of the arguments."""

    def _candidates(self) -> list[Any]:
        return [self._in_flight[0]]


class UnorderedIMapIterator(IMapIterator):
    """Yields results in the order in which they are there."""

    def _candidates(self) -> list[Any]:
        return list(self._in_flight)


def _batches(calls: Iterable[Call]) -> Callable[[int], Iterator[list[Call]]]:
    """Cut calls into lists of a given length, lazily."""
    source = iter(calls)
    return lambda size: iter(lambda: list(itertools.islice(source, size)), [])


class _Member:
    """An actor of a pool: how many batches it was given, and which of them may still run."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.batches = 0
        self.running: deque[Any] = deque()

    def unfinished(self) -> int:
        """Number of batches that may still run; an actor finishes them in order."""
        while self.running and narke.wait([self.running[0]], num_returns=1, timeout=0)[0]:
            self.running.popleft()
        return len(self.running)


class Pool:
    """A pool of actors that runs functions, with the interface of ``multiprocessing.Pool``.

    Args:
        processes: number of actors; None for one per CPU of the cluster.
        initializer: called once in each actor.
        initargs: its arguments.
        maxtasksperchild: batches after which an actor is replaced; None for never.
        context: accepted for compatibility; it has no effect.
        ray_address: cluster to connect to when the program is not connected.
        ray_remote_args: options of the actors, such as ``{"num_cpus": 1}``.

    Raises:
        ValueError: `processes` is not above 0, or above the cluster's CPUs.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] | None = None,
        maxtasksperchild: int | None = None,
        context: Any = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ) -> None:
        self._closed = False
        if context is not None:
            _log.warning("Pool: context=%r has no effect: the pool's processes are actors", context)
        self._initializer = initializer
        self._initargs = initargs
        self._max_batches = maxtasksperchild
        self._remote_cls = narke.remote(PoolActor).options(**{"num_cpus": 0, **(ray_remote_args or {})})
        self._processes = _checked_processes(processes, ray_address)
        self._ends: list[Any] = []
        self._lock = threading.RLock()
        self._members = [self._start_member() for _ in range(self._processes)]
        narke.get([member.handle.ping.remote() for member in self._members])

    def apply(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call the function in the pool and return its result."""
        return self.apply_async(func, args, kwargs).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult:
        """Call the function in the pool.

        Args:
            func: the function.
            args: positional arguments.
            kwargs: keyword arguments.
            callback: called with the result.
            error_callback: called with what the function raised.
        """
        self._check_running()
        call = (tuple(args or ()), kwargs or {})
        return AsyncResult([self._run_batch(func, [call])], callback, error_callback, single_result=True)

    def map(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """Call the function with each item and return the results in order.

        Raises what the first failure raised.
        """
        return self.map_async(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult:
        """Call the function with each item.

        Args:
            func: the function.
            iterable: its arguments.
            chunksize: calls per message to an actor; None for about four messages an actor.
            callback: called with the list of results.
            error_callback: called with what the first failed call raised.
        """
        return self._map_async(
            func, [((item,), {}) for item in iterable], chunksize, callback, error_callback
        )

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """`map` whose items are tuples of arguments."""
        return self._map_async(func, [(tuple(args), {}) for args in iterable], chunksize, None, None).get()

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult:
        """`map_async` whose items are tuples of arguments."""
        return self._map_async(func, [(tuple(args), {}) for args in iterable], None, callback, error_callback)

    def imap(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> OrderedIMapIterator:
        """Return an iterator over the results in order; a `PoolTaskError` stands for a call that failed."""
        self._check_running()
        return OrderedIMapIterator(self, func, iterable, chunksize)

    def imap_unordered(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> UnorderedIMapIterator:
        """Return an iterator over the results as they come.

        A `PoolTaskError` stands for a call that failed.
        """
        self._check_running()
        return UnorderedIMapIterator(self, func, iterable, chunksize)

    def close(self) -> None:
        """Take no more calls; the actors end after those they have."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._ends += [_end(member) for member in self._members]

    def terminate(self) -> None:
        """Take no more calls and end the actors at once."""
        self._closed = True
        for member in self._members:
            narke.kill(member.handle)

    def join(self) -> None:
        """Wait until the actors of a closed pool have ended.

        Raises:
            ValueError: the pool was not closed.
        """
        if not self._closed:
            raise ValueError("Pool is still running")
        pending = self._ends
        while pending:
            _, pending = narke.wait(pending, num_returns=len(pending), timeout=_TERMINATE_TIMEOUT_S)

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.terminate()

    def __reduce__(self) -> Any:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def _check_running(self) -> None:
        if self._closed:
            raise ValueError("Pool not running")

    def _map_async(
        self,
        func: Callable[..., Any],
        calls: list[Call],
        chunksize: int | None,
        callback: Callback | None,
        error_callback: Callback | None,
    ) -> AsyncResult:
        self._check_running()
        size = chunksize or max(1, div_round_up(len(calls), self._processes * _CHUNKS_PER_PROCESS))
        shared = self._shared_function(func) if len(calls) > size else func
        refs = [self._run_batch(shared, batch) for batch in _batches(calls)(size)]
        return AsyncResult(refs, callback, error_callback)

    def _shared_function(self, func: Callable[..., Any]) -> Any:
        """Store a function once for all the batches that call it."""
        return func if isinstance(func, narke.ObjectRef) else narke.put(func)

    def _run_batch(self, func: Any, batch: list[Call]) -> Any:
        """Give a batch to the actor with the fewest unfinished ones."""
        with self._lock:
            member = self._least_busy()
            ref = member.handle.run_batch.remote(func, batch)
            member.running.append(ref)
            member.batches += 1
            return ref

    def _least_busy(self) -> _Member:
        chosen = min(range(len(self._members)), key=lambda index: self._members[index].unfinished())
        if self._max_batches is not None and self._members[chosen].batches >= self._max_batches:
            self._ends.append(_end(self._members[chosen]))
            self._members[chosen] = self._start_member()
        return self._members[chosen]

    def _start_member(self) -> _Member:
        return _Member(self._remote_cls.remote(self._initializer, self._initargs))


def _end(member: _Member) -> Any:
    """Ask an actor to end after its calls; returns a reference that is ready once it did."""
    return member.handle.__ray_terminate__.remote()


def _checked_processes(processes: int | None, address: str | None) -> int:
    if processes is not None and processes <= 0:
        raise ValueError(f"Processes in the pool must be >0, got {processes}.")
    if not narke.is_initialized():
        address = address or os.environ.get(RAY_ADDRESS_ENV)
        narke.init(address=address) if address else narke.init(num_cpus=processes)
    cpus = int(narke.cluster_resources().get("CPU", 0))
    if processes is None:
        return max(cpus, 1)
    if cpus < processes:
        raise ValueError(
            f"Tried to start a pool with {processes} processes on an existing cluster, "
            f"but there are only {cpus} CPUs in the cluster."
        )
    return processes
