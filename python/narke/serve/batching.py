"""Requests gathered into batches; see `narke.serve.batch`."""

from __future__ import annotations

import asyncio
import collections
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from narke.serve import context as _context
from narke.serve.exceptions import RayServeException

__all__ = ["USER_CODE_STREAMING_SENTINELS", "batch"]

USER_CODE_STREAMING_SENTINELS = [StopIteration, StopAsyncIteration]


def batch(
    _func: Callable[..., Any] | None = None,
    /,
    max_batch_size: int = 10,
    batch_wait_timeout_s: float = 0.01,
    max_concurrent_batches: int = 1,
    batch_size_fn: Callable[[list[Any]], int] | None = None,
) -> Any:
    """Turn a coroutine function of lists into one of single items: calls that come close together run as one.

    Args:
        _func: gets a list for each parameter, returns a list of as many results. An async generator yields such
            lists; each caller gets an async generator of its items.
        max_batch_size: items of a batch.
        batch_wait_timeout_s: how long the first item waits for more; seconds.
        max_concurrent_batches: batches that run at once.
        batch_size_fn: size of a list of items, in place of their number.

    Returns:
        the function of single items, with ``set_max_batch_size(n)`` and ``set_batch_wait_timeout_s(s)``.

    Raises:
        TypeError: `_func` is neither a coroutine function nor an async generator function, or a number is none.
        ValueError: a number is out of range.
    """
    if _func is not None:
        if not callable(_func):
            raise TypeError("@serve.batch can only be used to decorate functions or methods.")
        if not (inspect.iscoroutinefunction(_func) or inspect.isasyncgenfunction(_func)):
            raise TypeError("Functions decorated with @serve.batch must be 'async def'")
    if batch_size_fn is not None and not callable(batch_size_fn):
        raise TypeError(f"batch_size_fn must be a callable or None, got {batch_size_fn!r}")
    _check_size(max_batch_size)
    _check_wait(batch_wait_timeout_s)
    if isinstance(max_concurrent_batches, bool) or not isinstance(max_concurrent_batches, int):
        raise TypeError(f"max_concurrent_batches must be an integer >= 1, got {max_concurrent_batches!r}")
    if max_concurrent_batches < 1:
        raise ValueError(f"max_concurrent_batches must be an integer >= 1, got {max_concurrent_batches}")
    settings = _Settings(max_batch_size, batch_wait_timeout_s, max_concurrent_batches, batch_size_fn)
    return (lambda func: _wrap(func, settings)) if _func is None else _wrap(_func, settings)


def _check_size(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or int(value) != value:
        raise TypeError(f"max_batch_size must be integer >= 1, got {value!r}")
    if value < 1:
        raise ValueError(f"max_batch_size must be an integer >= 1, got {value}")


def _check_wait(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"batch_wait_timeout_s must be a float >= 0, got {value!r}")
    if value < 0:
        raise ValueError(f"batch_wait_timeout_s must be a float >= 0, got {value}")


class _Settings:
    """What may change while batches run."""

    def __init__(
        self, size: float, wait_s: float, concurrent: int, size_of: Callable[[list[Any]], int] | None
    ) -> None:
        self.size = int(size)
        self.wait_s = wait_s
        self.concurrent = concurrent
        self.size_of = size_of


class _Item:
    """One call that waits for its result."""

    __slots__ = ("args", "context", "future", "kwargs", "results")

    def __init__(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], results: asyncio.Queue[Any] | None
    ) -> None:
        self.args = args
        self.kwargs = kwargs
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.results = results
        self.context = _context.request_context.get()


class _Batcher:
    """The items that wait for one function (of one instance), and the batches that run."""

    def __init__(self, func: Callable[..., Any], owner: Any, settings: _Settings) -> None:
        self._func = func
        self._owner = owner
        self._settings = settings
        self._waiting: collections.deque[_Item] = collections.deque()
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._is_generator = inspect.isasyncgenfunction(func)

    def add(self, item: _Item) -> None:
        self._waiting.append(item)
        self._consider(full_only=True)

    def _size(self, items: list[_Item]) -> int:
        if self._settings.size_of is None:
            return len(items)
        return int(self._settings.size_of([item.args[0] for item in items]))

    def _fits(self, item: _Item) -> bool:
        """Whether it may be in a batch at all; one that may not is failed."""
        if self._settings.size_of is None or (size := self._size([item])) <= self._settings.size:
            return True
        _fail([item], RuntimeError(f"An item of size {size} is larger than a batch: {self._settings.size}"))
        return False

    def _is_full(self) -> bool:
        return self._size(list(self._waiting)) >= self._settings.size

    def _consider(self, full_only: bool) -> None:
        """Start a batch if one is due; else make sure that one will be."""
        while self._waiting and self._waiting[0].future.cancelled():
            self._waiting.popleft()
        if not self._waiting or len(self._running) >= self._settings.concurrent:
            return
        if not full_only or self._settings.wait_s == 0 or self._is_full():
            self._start()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._settings.wait_s, self._due)

    def _due(self) -> None:
        self._timer = None
        self._consider(full_only=False)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        items: list[_Item] = []
        while self._waiting:
            if items and self._size([*items, self._waiting[0]]) > self._settings.size:
                break
            item = self._waiting.popleft()
            if not item.future.cancelled() and self._fits(item):
                items.append(item)
        if not items:
            return
        task = asyncio.get_running_loop().create_task(self._run(items))
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        # Those that came meanwhile have waited long enough, or a timer tells when they have.
        self._consider(full_only=self._settings.wait_s > 0)

    async def _run(self, items: list[_Item]) -> None:
        try:
            args, kwargs = _columns(items)
            if self._owner is not None:
                args = (self._owner, *args)
            if self._is_generator:
                await self._stream(items, self._func(*args, **kwargs))
            else:
                results = await self._func(*args, **kwargs)
                _check_results(results, items, self._func)
                for item, result in zip(items, results, strict=True):
                    if not item.future.done():
                        item.future.set_result(result)
        except BaseException as error:
            _fail(items, error)
            if isinstance(error, (KeyboardInterrupt, SystemExit, asyncio.CancelledError)):
                raise

    async def _stream(self, items: list[_Item], generator: AsyncIterator[Any]) -> None:
        open_items = set(range(len(items)))
        async for results in generator:
            _check_results(results, items, self._func)
            for index, (item, result) in enumerate(zip(items, results, strict=True)):
                if index not in open_items:
                    continue
                assert item.results is not None
                if result in USER_CODE_STREAMING_SENTINELS:
                    open_items.discard(index)
                    item.results.put_nowait((False, None))
                else:
                    item.results.put_nowait((True, result))
        for index in open_items:
            items[index].results.put_nowait((False, None))  # type: ignore[union-attr]


def _columns(items: list[_Item]) -> tuple[tuple[Any, ...], dict[str, list[Any]]]:
    first = items[0]
    for item in items:
        if len(item.args) != len(first.args) or item.kwargs.keys() != first.kwargs.keys():
            raise TypeError("Calls of one batched function must all pass the same parameters")
    args = tuple([item.args[i] for item in items] for i in range(len(first.args)))
    return args, {name: [item.kwargs[name] for item in items] for name in first.kwargs}


def _check_results(results: Any, items: list[_Item], func: Callable[..., Any]) -> None:
    if not isinstance(results, Iterable) or not hasattr(results, "__len__"):
        raise TypeError(
            f"Batched function {func.__name__} doesn't return an iterable with one result per item, but "
            f"{type(results).__name__}."
        )
    if len(results) != len(items):  # type: ignore[arg-type]
        raise RayServeException(
            f"Batched function doesn't preserve batch size. The input list has length {len(items)} but the returned "
            f"list has length {len(results)}."  # type: ignore[arg-type]
        )


def _fail(items: list[_Item], error: BaseException) -> None:
    for item in items:
        if item.results is not None:
            item.results.put_nowait((None, error))
        elif not item.future.done():
            item.future.set_exception(error)


def _is_method(func: Callable[..., Any]) -> bool:
    return next(iter(inspect.signature(func).parameters), None) == "self"


def _wrap(func: Callable[..., Any], settings: _Settings) -> Callable[..., Any]:
    is_method = _is_method(func)
    slot = f"__serve_batcher_{func.__name__}"

    def batcher_of(owner: Any) -> _Batcher:
        holder = wrapper if owner is None else owner
        found = holder.__dict__.get(slot)
        if found is None:
            found = holder.__dict__[slot] = _Batcher(func, owner, settings)
        return found  # type: ignore[no-any-return]

    def split(args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        return (args[0], args[1:]) if is_method else (None, args)

    wrapper: Any
    if inspect.isasyncgenfunction(func):

        @functools.wraps(func)
        async def stream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            owner, values = split(args)
            results: asyncio.Queue[Any] = asyncio.Queue()
            batcher_of(owner).add(_Item(values, kwargs, results))
            while True:
                more, value = await results.get()
                if more is None:
                    raise value
                if not more:
                    return
                yield value

        wrapper = stream
    else:

        @functools.wraps(func)
        async def single(*args: Any, **kwargs: Any) -> Any:
            owner, values = split(args)
            item = _Item(values, kwargs, None)
            batcher_of(owner).add(item)
            return await item.future

        wrapper = single
    _add_settings(wrapper, settings)
    return wrapper  # type: ignore[no-any-return]


def _add_settings(wrapper: Any, settings: _Settings) -> None:
    def set_max_batch_size(new_max_batch_size: int) -> None:
        _check_size(new_max_batch_size)
        settings.size = int(new_max_batch_size)

    def set_batch_wait_timeout_s(new_batch_wait_timeout_s: float) -> None:
        _check_wait(new_batch_wait_timeout_s)
        settings.wait_s = new_batch_wait_timeout_s

    wrapper.__serve_settings__ = settings
    wrapper.__serve_batched__ = True
    wrapper.set_max_batch_size = set_max_batch_size
    wrapper.set_batch_wait_timeout_s = set_batch_wait_timeout_s
    wrapper._get_max_batch_size = lambda: settings.size
    wrapper._get_batch_wait_timeout_s = lambda: settings.wait_s
