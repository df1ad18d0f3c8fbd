"""Iterators that are read in one process; `narke.util.iter` adds those whose items come from actors.

A stage that would have to wait may yield a `_NextValueNotReady`, which every stage passes on, so that a
reader of several iterators can turn to the next one.
"""

from __future__ import annotations

import functools
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import narke
from narke.util.annotations import Deprecated
from narke.util.iter_metrics import MetricsContext, SharedMetrics

__all__ = ["LocalIterator"]

T = TypeVar("T")
_IDLE_S = 0.002


class _NextValueNotReady(Exception):
    """Yielded in place of an item when none is there yet and the reader does not want to wait."""


@Deprecated
class LocalIterator(Generic[T]):
    """An iterator that is read in one process; its transformations run in that process.

    It can be sent to a task or actor before it is read from.

    Args:
        base_iterator: called with a timeout in seconds (None: wait), returns the source's iterator.
        shared_metrics: slot for the metrics that the stages record.
        local_transforms: functions from iterator to iterator.
        timeout: passed to `base_iterator`.
        name: what to call the iterator.
    """

    ON_FETCH_START_HOOK_NAME = "_on_fetch_start"
    thread_local = threading.local()

    def __init__(
        self,
        base_iterator: Callable[[float | None], Iterable[T]],
        shared_metrics: SharedMetrics,
        local_transforms: list[Callable[[Iterable[Any]], Iterable[Any]]] | None = None,
        timeout: float | None = None,
        name: str | None = None,
    ) -> None:
        self.base_iterator = base_iterator
        self.built_iterator: Iterator[T] | None = None
        self.local_transforms = local_transforms or []
        self.shared_metrics = shared_metrics
        self.timeout = timeout
        self.name = name or "unknown"

    @staticmethod
    def get_metrics() -> MetricsContext:
        """Return the metrics of the iterator that is calling the present function.

        Raises:
            ValueError: no iterator is.
        """
        metrics = getattr(LocalIterator.thread_local, "metrics", None)
        if metrics is None:
            raise ValueError("get_metrics works only inside a function that an iterator calls")
        return metrics

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self.built_iterator is None:
            stage: Iterable[Any] = self.base_iterator(self.timeout)
            for transform in self.local_transforms:
                stage = transform(stage)
            self.built_iterator = iter(stage)
        with self._metrics_context():
            return next(self.built_iterator)

    def __repr__(self) -> str:
        return f"LocalIterator[{self.name}]"

    @contextmanager
    def _metrics_context(self) -> Generator[None, None, None]:
        outer = getattr(self.thread_local, "metrics", None)
        self.thread_local.metrics = self.shared_metrics.get()
        try:
            yield
        finally:
            self.thread_local.metrics = outer

    def _derive(self, transform: Callable[[Iterable[Any]], Iterable[Any]], suffix: str) -> LocalIterator[Any]:
        return LocalIterator(
            self.base_iterator,
            self.shared_metrics,
            [*self.local_transforms, transform],
            name=self.name + suffix,
        )

    def transform(self, fn: Callable[[Iterable[T]], Iterable[Any]]) -> LocalIterator[Any]:
        """Apply a generator function to the whole stream; it must pass on `_NextValueNotReady` values."""
        return self._derive(fn, ".transform()")

    def for_each(
        self, fn: Callable[[T], Any], max_concurrency: int = 1, resources: dict[str, Any] | None = None
    ) -> LocalIterator[Any]:
        """Apply a function to each item.

        Args:
            fn: the function; its attribute ``_on_fetch_start``, if any, is called before each item is
                fetched.
            max_concurrency: 1 to apply it here, in order; more (0: without bound) to run that many remote
                tasks at once and return results as they come.
            resources: options of those tasks, such as ``{"num_cpus": 1}``.

        Raises:
            ValueError: negative `max_concurrency`.
        """
        if max_concurrency < 0:
            raise ValueError(f"max_concurrency must not be negative, got {max_concurrency}")
        if max_concurrency == 1:
            return self._derive(functools.partial(_apply, fn), ".for_each()")
        stage = functools.partial(_apply_remotely, fn, max_concurrency, resources)
        return self._derive(stage, f".for_each(max_concurrency={max_concurrency})")

    def filter(self, fn: Callable[[T], bool]) -> LocalIterator[T]:
        """Keep the items for which the function is true."""
        return self._derive(functools.partial(_keep, fn), ".filter()")

    def batch(self, n: int) -> LocalIterator[list[T]]:
        """Collect items into lists of `n`; the last may be shorter."""
        return self._derive(functools.partial(_batch, n), f".batch({n})")

    def flatten(self) -> LocalIterator[Any]:
        """Yield the elements of each item."""
        return self._derive(_flatten, ".flatten()")

    def shuffle(self, shuffle_buffer_size: int, seed: int | None = None) -> LocalIterator[T]:
        """Yield items in random order, chosen from a buffer.

        Args:
            shuffle_buffer_size: items in the buffer; as many as there are for a perfect shuffle.
            seed: seed of the choice.
        """
        stage = functools.partial(_shuffle, shuffle_buffer_size, seed)
        return self._derive(stage, f".shuffle(shuffle_buffer_size={shuffle_buffer_size}, seed={seed})")

    def combine(self, fn: Callable[[T], list[Any]]) -> LocalIterator[Any]:
        """Apply a function that returns lists and yield their elements."""
        combined = self.for_each(fn).flatten()
        combined.name = f"{self.name}.combine()"
        return combined

    def zip_with_source_actor(self) -> LocalIterator[tuple[Any, T]]:
        """Yield pairs of the actor that produced an item, and the item."""
        return self._derive(_pair_with_actor, ".zip_with_source_actor()")

    def take(self, n: int) -> list[T]:
        """Return up to the first `n` items."""
        return list(_take(self, n))

    def show(self, n: int = 20) -> None:
        """Print up to the first `n` items."""
        for item in _take(self, n):
            print(item)

    def duplicate(self, n: int) -> list[LocalIterator[T]]:
        """Return `n` iterators that each yield all items.

        Items that one iterator yielded and another did not yet are kept in memory.

        Raises:
            ValueError: `n` is less than 2.
        """
        if n < 2:
            raise ValueError(f"Number of copies must be >= 2, got {n}")
        source, metrics = _Tee(self, n), SharedMetrics(parents=[self.shared_metrics])
        return [
            LocalIterator(
                functools.partial(source.read, index), metrics, name=f"{self.name}.duplicate[{index}]"
            )
            for index in range(n)
        ]

    def union(
        self,
        *others: LocalIterator[T],
        deterministic: bool = False,
        round_robin_weights: list[Any] | None = None,
    ) -> LocalIterator[T]:
        """Yield the items of this iterator and of others.

        Args:
            others: the other iterators.
            deterministic: take one item from each in turn, waiting for it; otherwise take what is there.
            round_robin_weights: take so many items from each in turn, ``"*"`` for as many as are there
                without waiting; overrides `deterministic`.

        Raises:
            ValueError: an argument is no `LocalIterator`, or the weights do not match the iterators.
        """
        sources = [self, *others]
        for source in sources:
            if not isinstance(source, LocalIterator):
                raise ValueError(f"other must be of type LocalIterator, got {type(source)}")
        if round_robin_weights and len(round_robin_weights) != len(sources):
            raise ValueError(f"got {len(round_robin_weights)} weights for {len(sources)} iterators")
        weights = round_robin_weights or [1] * len(sources)
        waits = [bool(deterministic or round_robin_weights) and weight != "*" for weight in weights]
        metrics = SharedMetrics(parents=[source.shared_metrics for source in sources])
        names = ", ".join(map(repr, sources))
        return LocalIterator(
            functools.partial(_union, sources, weights, waits), metrics, name=f"LocalUnion[{names}]"
        )


def _take(items: Iterable[T], n: int) -> Iterator[T]:
    taken = 0
    while taken < n:
        for item in items:
            if not isinstance(item, _NextValueNotReady):
                yield item
                taken += 1
                break
        else:
            return


def _apply(fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    hook = getattr(fn, LocalIterator.ON_FETCH_START_HOOK_NAME, None)
    source = iter(items)
    while True:
        if hook is not None:
            hook()
        try:
            item = next(source)
        except StopIteration:
            return
        yield item if isinstance(item, _NextValueNotReady) else fn(item)


def _apply_remotely(
    fn: Callable[[Any], Any], limit: int, resources: dict[str, Any] | None, items: Iterable[Any]
) -> Iterator[Any]:
    task = narke.remote(fn)
    if resources:
        task = task.options(**resources)
    running: list[Any] = []
    for item in items:
        if isinstance(item, _NextValueNotReady):
            yield item
            continue
        running.append(task.remote(item))
        if limit and len(running) >= limit:
            done, running = narke.wait(running, num_returns=1)
            yield from narke.get(done)
    while running:
        done, running = narke.wait(running, num_returns=1)
        yield from narke.get(done)


def _keep(fn: Callable[[Any], bool], items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        if isinstance(item, _NextValueNotReady) or fn(item):
            yield item


def _batch(n: int, items: Iterable[Any]) -> Iterator[Any]:
    batch: list[Any] = []
    for item in items:
        if isinstance(item, _NextValueNotReady):
            yield item
            continue
        batch.append(item)
        if len(batch) >= n:
            yield batch
            batch = []
    if batch:
        yield batch


def _flatten(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        if isinstance(item, _NextValueNotReady):
            yield item
        else:
            yield from item


def _shuffle(buffer_size: int, seed: int | None, items: Iterable[Any]) -> Iterator[Any]:
    generator = random.Random(seed)
    buffer: list[Any] = []
    for item in items:
        if isinstance(item, _NextValueNotReady):
            yield item
            continue
        buffer.append(item)
        if len(buffer) >= buffer_size:
            yield buffer.pop(generator.randrange(len(buffer)))
    while buffer:
        yield buffer.pop(generator.randrange(len(buffer)))


def _pair_with_actor(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        if isinstance(item, _NextValueNotReady):
            yield item
        else:
            yield LocalIterator.get_metrics().current_actor, item


class _Tee:
    """Lets several readers each see every item of one iterator."""

    def __init__(self, source: LocalIterator[Any], readers: int) -> None:
        self._source = source
        self._queues: list[deque[Any]] = [deque() for _ in range(readers)]

    def read(self, index: int, timeout: float | None) -> Iterator[Any]:
        """Yield all items for one reader; one that does not want to wait lets those behind it go first."""
        own = self._queues[index]
        while True:
            behind = len(own) < max(map(len, self._queues))
            if timeout is not None and behind:
                yield _NextValueNotReady()
            elif own:
                yield own.popleft()
            else:
                try:
                    item = next(self._source)
                except StopIteration:
                    return
                if timeout is not None and isinstance(item, _NextValueNotReady):
                    yield item
                elif not isinstance(item, _NextValueNotReady):
                    for queue in self._queues:
                        queue.append(item)


def _union(
    sources: list[LocalIterator[Any]], weights: list[Any], waits: list[bool], timeout: float | None
) -> Iterator[Any]:
    """Round robin over copies of the sources until all are exhausted."""
    active: list[tuple[LocalIterator[Any], Any]] = []
    for source, weight, wait in zip(sources, weights, waits, strict=False):
        copy = LocalIterator(
            source.base_iterator, source.shared_metrics, source.local_transforms, timeout=None if wait else 0
        )
        active.append((copy, weight))
    while active:
        progressed = False
        for entry in list(active):
            ended, items = _pull(*entry)
            if ended:
                active.remove(entry)
            progressed = progressed or ended or bool(items)
            yield from items
        if not progressed:
            if timeout is not None:
                yield _NextValueNotReady()
            time.sleep(_IDLE_S)


def _pull(source: LocalIterator[Any], weight: Any) -> tuple[bool, list[Any]]:
    """Take up to `weight` items that are there; says also whether the source has ended."""
    items: list[Any] = []
    while weight == "*" or len(items) < weight:
        try:
            item = next(source)
        except StopIteration:
            return True, items
        if isinstance(item, _NextValueNotReady):
            break
        items.append(item)
    return False, items
