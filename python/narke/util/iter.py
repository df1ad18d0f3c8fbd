"""Iterators over items that actors produce in parallel.

A shard is an actor that produces items; transformations of a `ParallelIterator` run in the shards, those of
the `LocalIterator` that gathers their items where it is read.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import narke
from narke.util._local_iterator import LocalIterator, _NextValueNotReady
from narke.util.annotations import Deprecated
from narke.util.iter_metrics import SharedMetrics

__all__ = [
    "LocalIterator",
    "ParallelIterator",
    "ParallelIteratorWorker",
    "from_actors",
    "from_items",
    "from_iterators",
    "from_range",
]

T = TypeVar("T")


@Deprecated
def from_items(items: list[T], num_shards: int = 2, repeat: bool = False) -> ParallelIterator[T]:
    """Iterate over a list in parallel.

    Args:
        items: the items; dealt out to the shards in turn.
        num_shards: number of actors.
        repeat: start over for ever.
    """
    shards = [items[index::num_shards] for index in range(num_shards)]
    kind = type(items[0]).__name__ if items else "None"
    name = f"from_items[{kind}, {len(items)}, shards={num_shards}{_repeat_suffix(repeat)}]"
    return from_iterators(shards, repeat=repeat, name=name)


@Deprecated
def from_range(n: int, num_shards: int = 2, repeat: bool = False) -> ParallelIterator[int]:
    """Iterate over 0 to n - 1 in parallel.

    Args:
        n: the end of the range; cut into contiguous parts, the last of which takes the remainder.
        num_shards: number of actors.
        repeat: start over for ever.
    """
    size = n // num_shards
    bounds = [size * index for index in range(num_shards)] + [n]
    shards = [range(start, stop) for start, stop in zip(bounds, bounds[1:], strict=False)]
    return from_iterators(
        shards, repeat=repeat, name=f"from_range[{n}, shards={num_shards}{_repeat_suffix(repeat)}]"
    )


@Deprecated
def from_iterators(
    generators: list[Iterable[T] | Callable[[], Iterable[T]]], repeat: bool = False, name: str | None = None
) -> ParallelIterator[T]:
    """Iterate over iterables in parallel, an actor for each.

    Args:
        generators: iterables, or functions that return one (for those that cannot be serialised).
        repeat: start each over for ever.
        name: what to call the iterator.
    """
    worker_cls = narke.remote(ParallelIteratorWorker)
    actors = [worker_cls.remote(generator, repeat) for generator in generators]
    return from_actors(
        actors, name=name or f"from_iterators[shards={len(generators)}{_repeat_suffix(repeat)}]"
    )


@Deprecated
def from_actors(actors: list[Any], name: str | None = None) -> ParallelIterator[Any]:
    """Iterate over what existing actors produce.

    Args:
        actors: handles of actors whose classes extend `ParallelIteratorWorker`.
        name: what to call the iterator.
    """
    return ParallelIterator([_ActorSet(actors, [])], name or f"from_actors[shards={len(actors)}]", [])


def _repeat_suffix(repeat: bool) -> str:
    return ", repeat=True" if repeat else ""


class _ActorSet:
    """Shards that share one chain of transformations."""

    def __init__(self, actors: list[Any], transforms: list[Callable[[Any], Any]]) -> None:
        self.actors = actors
        self.transforms = transforms

    def init_actors(self) -> None:
        """Start the shards from their first item."""
        narke.get([actor.par_iter_init.remote(self.transforms) for actor in self.actors])

    def with_transform(self, transform: Callable[[Any], Any]) -> _ActorSet:
        return _ActorSet(self.actors, [*self.transforms, transform])


@Deprecated
class ParallelIterator(Generic[T]):
    """An iterator over the items of several actors; its transformations run in the actors.

    Read it with `gather_sync`, `gather_async`, or shard by shard with `get_shard`. It can be sent to tasks
    and actors; each shard must be read by one process only.

    Args:
        actor_sets: the shards with their transformations.
        name: what to call the iterator.
        parent_iterators: iterators that feed the shards; kept alive with this one.
    """

    def __init__(
        self, actor_sets: list[_ActorSet], name: str, parent_iterators: list[ParallelIterator[Any]]
    ) -> None:
        self.actor_sets = actor_sets
        self.name = name
        self.parent_iterators = parent_iterators

    def __iter__(self) -> Iterator[T]:
        raise TypeError(
            "a parallel iterator cannot be iterated over directly: use it.gather_sync() or it.gather_async()"
        )

    def __repr__(self) -> str:
        return f"ParallelIterator[{self.name}]"

    def _with_transform(self, transform: Callable[[Any], Any], suffix: str) -> ParallelIterator[Any]:
        sets = [actor_set.with_transform(transform) for actor_set in self.actor_sets]
        return ParallelIterator(sets, self.name + suffix, self.parent_iterators)

    def transform(self, fn: Callable[[Iterable[T]], Iterable[Any]]) -> ParallelIterator[Any]:
        """Apply a generator function to the stream of each shard."""
        return self._with_transform(lambda shard: shard.transform(fn), ".transform()")

    def for_each(
        self, fn: Callable[[T], Any], max_concurrency: int = 1, resources: dict[str, Any] | None = None
    ) -> ParallelIterator[Any]:
        """Apply a function to each item; parameters as for `LocalIterator.for_each`, per shard.

        Raises:
            ValueError: negative `max_concurrency`.
        """
        if max_concurrency < 0:
            raise ValueError(f"max_concurrency must not be negative, got {max_concurrency}")
        return self._with_transform(
            lambda shard: shard.for_each(fn, max_concurrency, resources), ".for_each()"
        )

    def filter(self, fn: Callable[[T], bool]) -> ParallelIterator[T]:
        """Keep the items for which the function is true."""
        return self._with_transform(lambda shard: shard.filter(fn), ".filter()")

    def batch(self, n: int) -> ParallelIterator[list[T]]:
        """Collect each shard's items into lists of `n`."""
        return self._with_transform(lambda shard: shard.batch(n), f".batch({n})")

    def flatten(self) -> ParallelIterator[Any]:
        """Yield the elements of each item."""
        return self._with_transform(lambda shard: shard.flatten(), ".flatten()")

    def combine(self, fn: Callable[[T], list[Any]]) -> ParallelIterator[Any]:
        """Apply a function that returns lists and yield their elements."""
        return self._with_transform(lambda shard: shard.combine(fn), ".combine()")

    def local_shuffle(self, shuffle_buffer_size: int, seed: int | None = None) -> ParallelIterator[T]:
        """Shuffle each shard's items; parameters as for `LocalIterator.shuffle`."""
        suffix = f".local_shuffle(shuffle_buffer_size={shuffle_buffer_size}, seed={seed})"
        return self._with_transform(lambda shard: shard.shuffle(shuffle_buffer_size, seed), suffix)

    def repartition(self, num_partitions: int, batch_ms: int = 0) -> ParallelIterator[T]:
        """Deal the items out in turn to another number of shards.

        Args:
            num_partitions: the new number.
            batch_ms: milliseconds for which an old shard collects items before it hands them over; 0 for one
                item.
        """
        for actor_set in self.actor_sets:
            actor_set.init_actors()
        actors = self._actors()
        readers = [
            functools.partial(_read_slices, actors, num_partitions, start, batch_ms)
            for start in range(num_partitions)
        ]
        worker_cls = narke.remote(ParallelIteratorWorker)
        shards = [worker_cls.remote(reader, False) for reader in readers]
        name = f"{self.name}.repartition[num_partitions={num_partitions}]"
        return ParallelIterator([_ActorSet(shards, [])], name, [self])

    def gather_sync(self) -> LocalIterator[T]:
        """Return an iterator that takes an item of each shard in turn."""
        return LocalIterator(self._read_in_turn, SharedMetrics(), name=f"{self!r}.gather_sync()")

    def batch_across_shards(self) -> LocalIterator[list[T]]:
        """Return an iterator over lists of the shards' next items; shards that have ended are left out."""
        return LocalIterator(self._read_rounds, SharedMetrics(), name=f"{self!r}.batch_across_shards()")

    def gather_async(self, batch_ms: int = 0, num_async: int = 1) -> LocalIterator[T]:
        """Return an iterator over the shards' items in the order in which they come.

        Args:
            batch_ms: milliseconds for which a shard collects items before it sends them; 0 for one item.
            num_async: requests in flight per shard.

        Raises:
            ValueError: negative `batch_ms`, or `num_async` below 1.
        """
        _check_fetching(batch_ms, num_async)
        source = functools.partial(self._read_as_they_come, batch_ms, num_async)
        return LocalIterator(source, SharedMetrics(), name=f"{self!r}.gather_async()")

    def take(self, n: int) -> list[T]:
        """Return up to the first `n` items."""
        return self.gather_sync().take(n)

    def show(self, n: int = 20) -> None:
        """Print up to the first `n` items."""
        self.gather_sync().show(n)

    def union(self, other: ParallelIterator[T]) -> ParallelIterator[T]:
        """Return an iterator over the shards of this one and of another.

        Raises:
            ValueError: `other` is no `ParallelIterator`.
        """
        if not isinstance(other, ParallelIterator):
            raise ValueError(f"other must be of type ParallelIterator, got {type(other)}")
        return ParallelIterator(
            [*self.actor_sets, *other.actor_sets],
            f"ParallelUnion[{self}, {other}]",
            [*self.parent_iterators, *other.parent_iterators],
        )

    def select_shards(self, shards_to_keep: list[int]) -> ParallelIterator[T]:
        """Return an iterator over some shards only; those of several such iterators must not overlap.

        Raises:
            ValueError: no shard has one of the indexes.
        """
        unknown = sorted(set(shards_to_keep) - set(range(self.num_shards())))
        if unknown:
            raise ValueError(f"there is no shard {unknown[0]}: {self!r} has {self.num_shards()}")
        chosen = [self._shard(index) for index in sorted(set(shards_to_keep))]
        sets = [_ActorSet([actor], transforms) for actor, transforms in chosen]
        return ParallelIterator(sets, f"{self}.select_shards({len(chosen)} total)", self.parent_iterators)

    def num_shards(self) -> int:
        """Return the number of shards."""
        return len(self._actors())

    def shards(self) -> list[LocalIterator[T]]:
        """Return an iterator for each shard."""
        return [self.get_shard(index) for index in range(self.num_shards())]

    def get_shard(self, shard_index: int, batch_ms: int = 0, num_async: int = 1) -> LocalIterator[T]:
        """Return an iterator over one shard's items, in order; it can be sent to a task or actor.

        Args:
            shard_index: the shard.
            batch_ms: milliseconds for which the shard collects items before it sends them; 0 for one item.
            num_async: requests in flight.

        Raises:
            ValueError: there is no such shard, or a number is out of range.
        """
        _check_fetching(batch_ms, num_async)
        if not 0 <= shard_index < self.num_shards():
            raise ValueError(f"there is no shard {shard_index}: {self!r} has {self.num_shards()}")
        actor, transforms = self._shard(shard_index)
        source = functools.partial(_read_shard, actor, transforms, batch_ms, num_async)
        return LocalIterator(source, SharedMetrics(), name=f"{self.name}.shard[{shard_index}]")

    def _actors(self) -> list[Any]:
        return [actor for actor_set in self.actor_sets for actor in actor_set.actors]

    def _shard(self, index: int) -> tuple[Any, list[Callable[[Any], Any]]]:
        shards = [
            (actor, actor_set.transforms) for actor_set in self.actor_sets for actor in actor_set.actors
        ]
        return shards[index]

    def _start(self) -> list[Any]:
        for actor_set in self.actor_sets:
            actor_set.init_actors()
        return self._actors()

    def _rounds(self, timeout: float | None) -> Iterator[Any]:
        """Yield lists of (actor, item), an item of every shard that has not ended."""
        requests = [(actor, actor.par_iter_next_batch.remote(0)) for actor in self._start()]
        while requests:
            refs = [ref for _, ref in requests]
            ready, _ = narke.wait(refs, num_returns=len(refs), timeout=timeout)
            if len(ready) < len(refs):
                yield _NextValueNotReady()
                continue
            batches = [(actor, narke.get(ref)) for actor, ref in requests]
            alive = [(actor, batch[0]) for actor, batch in batches if batch]
            requests = [(actor, actor.par_iter_next_batch.remote(0)) for actor, _ in alive]
            if alive:
                yield alive

    def _read_rounds(self, timeout: float | None) -> Iterator[Any]:
        for found in self._rounds(timeout):
            yield found if isinstance(found, _NextValueNotReady) else [item for _, item in found]

    def _read_in_turn(self, timeout: float | None) -> Iterator[Any]:
        for found in self._rounds(timeout):
            if isinstance(found, _NextValueNotReady):
                yield found
                continue
            for actor, item in found:
                LocalIterator.get_metrics().current_actor = actor
                yield item

    def _read_as_they_come(self, batch_ms: int, num_async: int, timeout: float | None) -> Iterator[Any]:
        actors = self._start()
        requests = {
            actor.par_iter_next_batch.remote(batch_ms): actor for actor in actors for _ in range(num_async)
        }
        while requests:
            ready, _ = narke.wait(list(requests), num_returns=1, timeout=timeout)
            if not ready:
                yield _NextValueNotReady()
                continue
            actor = requests.pop(ready[0])
            batch = narke.get(ready[0])
            if batch:
                requests[actor.par_iter_next_batch.remote(batch_ms)] = actor
            for item in batch:
                LocalIterator.get_metrics().current_actor = actor
                yield item


def _check_fetching(batch_ms: int, num_async: int) -> None:
    if num_async < 1:
        raise ValueError(f"num_async must be at least 1, got {num_async}")
    if batch_ms < 0:
        raise ValueError(f"batch_ms must not be negative, got {batch_ms}")


def _read_shard(
    actor: Any, transforms: list[Callable[[Any], Any]], batch_ms: int, num_async: int, timeout: float | None
) -> Iterator[Any]:
    narke.get(actor.par_iter_init.remote(transforms))
    requests = deque(actor.par_iter_next_batch.remote(batch_ms) for _ in range(num_async))
    while True:
        ready, _ = narke.wait([requests[0]], num_returns=1, timeout=timeout)
        if not ready:
            yield _NextValueNotReady()
            continue
        batch = narke.get(requests.popleft())
        if not batch:
            return
        requests.append(actor.par_iter_next_batch.remote(batch_ms))
        yield from batch


def _read_slices(actors: list[Any], step: int, start: int, batch_ms: int) -> Iterator[Any]:
    """Every `step`-th item of each actor from `start` on, for one shard of a repartitioned iterator."""
    requests = [(actor, actor.par_iter_slice_batch.remote(step, start, batch_ms)) for actor in actors]
    while requests:
        batches = narke.get([ref for _, ref in requests])
        alive = [actor for (actor, _), batch in zip(requests, batches, strict=False) if batch]
        requests = [(actor, actor.par_iter_slice_batch.remote(step, start, batch_ms)) for actor in alive]
        for batch in batches:
            yield from batch


class ParallelIteratorWorker:
    """What an actor must offer to be a shard; extend it to turn an actor of your own into one.

    Args:
        item_generator: an iterable, or a function that returns one.
        repeat: start over for ever.
    """

    def __init__(self, item_generator: Any, repeat: bool) -> None:
        self.item_generator = item_generator
        self.repeat = repeat
        self.transforms: list[Callable[[Any], Any]] = []
        self.local_it: Iterator[Any] | None = None
        self.next_ith_buffer: dict[int, deque[Any]] | None = None

    def par_iter_init(self, transforms: list[Callable[[Any], Any]]) -> None:
        """Start from the first item, with these transformations."""
        stage: LocalIterator[Any] = LocalIterator(lambda timeout: self._items(), SharedMetrics())
        for transform in transforms:
            stage = transform(stage)
        self.transforms = transforms
        self.local_it = iter(stage)
        self.next_ith_buffer = None

    def par_iter_next(self) -> Any:
        """Return the next item.

        Raises:
            StopIteration: there are no more.
            RuntimeError: `par_iter_init` was not called.
        """
        if self.local_it is None:
            raise RuntimeError("call par_iter_init before asking a shard for items")
        return next(item for item in self.local_it if not isinstance(item, _NextValueNotReady))

    def par_iter_next_batch(self, batch_ms: int) -> list[Any]:
        """Return the items of the next `batch_ms` milliseconds, at least one.

        Empty when there are no more.
        """
        return _collect(self.par_iter_next, batch_ms)

    def par_iter_slice(self, step: int, start: int) -> Any:
        """Return the next of the items with index ``start``, ``start + step``, ...; others wait in a buffer.

        Raises:
            StopIteration: there are no more.
        """
        if self.next_ith_buffer is None:
            self.next_ith_buffer = {index: deque() for index in range(step)}
            self._next_slot = 0
        buffer = self.next_ith_buffer[start]
        while not buffer:
            self.next_ith_buffer[self._next_slot].append(self.par_iter_next())
            self._next_slot = (self._next_slot + 1) % step
        return buffer.popleft()

    def par_iter_slice_batch(self, step: int, start: int, batch_ms: int) -> list[Any]:
        """`par_iter_slice` for `batch_ms` milliseconds, at least one item; empty when there are no more."""
        return _collect(functools.partial(self.par_iter_slice, step, start), batch_ms)

    def _items(self) -> Iterator[Any]:
        while True:
            count = 0
            for item in self.item_generator() if callable(self.item_generator) else self.item_generator:
                count += 1
                yield item
            if not self.repeat:
                return
            if count == 0:
                raise ValueError(
                    "repeat=True needs an iterable that yields items each time it is iterated over"
                )


def _collect(fetch: Callable[[], Any], batch_ms: int) -> list[Any]:
    deadline_s = time.monotonic() + batch_ms / 1000
    batch: list[Any] = []
    while not batch or time.monotonic() < deadline_s:
        try:
            item = fetch()
        except StopIteration:
            break
        batch.append(item)
    return batch
