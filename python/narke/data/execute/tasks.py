"""The functions that datasets run remotely. Those that make blocks yield, for each, the block and what it is."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import narke
from narke._private import preloads
from narke.data import blocks as blk
from narke.data.blocks import Block
from narke.data.lazy import LazyBlock
from narke.data.transforms import Chain

logger = logging.getLogger("narke.data")


def described(stream: Iterable[Block]) -> Iterator[Any]:
    """Each block followed by its (rows, bytes, schema) and the seconds that it took to make."""
    begun = time.perf_counter()
    for block in stream:
        small = blk.compact(block)
        yield small
        yield (small.num_rows, small.nbytes, small.schema), time.perf_counter() - begun
        begun = time.perf_counter()


def run_read(chain: Chain, index: int, read_task: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """Run a data source's task and the chain over what it reads."""
    made = (b if isinstance(b, LazyBlock) else blk.from_batch(b) for b in read_task())
    return described(chain.bind()(index, made))


def run_map(chain: Chain, index: int, *blocks: Block) -> Iterator[Any]:
    """Run the chain over blocks."""
    return described(chain.bind()(index, blocks))


def run_slices(index: int, ranges: list[tuple[int, int]], *blocks: Block) -> Iterator[Any]:
    """One block of rows [start, end) of each of several blocks."""
    parts = [block.slice(start, end - start) for block, (start, end) in zip(blocks, ranges, strict=True)]
    return described([blk.concat(parts)])


def run_zip(index: int, ranges: list[tuple[int, int]], left: Block, *right: Block) -> Iterator[Any]:
    """The columns of `left`, then those of rows [start, end) of several blocks put together."""
    parts = [block.slice(start, end - start) for block, (start, end) in zip(right, ranges, strict=True)]
    return described([blk.zipped(left, blk.concat(parts))])


def run_sample(exchange: Any, index: int, block: Block) -> Block:
    """A few rows of a block, by which the exchange chooses its partitions."""
    return exchange.sample(index, block)


def run_partition(exchange: Any, shared: Any, count: int, index: int, *blocks: Block) -> list[Block]:
    """The rows of blocks for each of `count` partitions."""
    return [blk.compact(part) for part in exchange.partition(shared, count, index, blk.concat(blocks))]


def run_merge(exchange: Any, shared: Any, index: int, *parts: Block) -> Iterator[Any]:
    """What becomes of one partition's rows."""
    return described(exchange.merge(shared, index, list(parts)))


class MapWorker:
    """An actor of a pool: builds the chain's classes once, then runs blocks through it.

    Args:
        retry: True, or exception classes, after which building is tried again. attempts: how often in all.
        turns: calls that are there at the same time take turns in the classes.
    """

    def __init__(self, chain: Chain, retry: Any = False, attempts: int = 1, turns: bool = False):
        self._run = _attempted(chain.bind, retry, attempts)
        self._turn: Any = threading.Lock() if turns else contextlib.nullcontext()

    def ready(self) -> bool:
        """Answers as soon as the classes are built."""
        return True

    def run(self, index: int, *blocks: Block) -> Iterator[Any]:
        """See `run_map`."""
        stream = described(self._run(index, blocks))
        end = object()
        while True:
            with self._turn:
                item = next(stream, end)
            if item is end:
                return
            yield item


def _attempted(call: Callable[[], Any], retry: Any, attempts: int) -> Any:
    kinds = Exception if retry is True else tuple(retry or ())
    for _ in range(attempts - 1):
        try:
            return call()
        except kinds as error:
            logger.warning("building the classes of an actor failed, trying again: %s", error)
    return call()


_remotes: dict[Any, Any] = {}


def remote(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    """The remote form of one of the functions above, with options of `narke.remote`.

    It does not follow the caller into a placement group: there its workers may hold everything.
    """
    known = _remotes.get(function)
    if known is None:
        known = _remotes[function] = narke.remote(function)
    return known.options(**{"placement_group": None, "_preload": preloads.DATA, **options})


def as_arrays(block: Block, column: str | None) -> Any:
    """The block as a dict of arrays, or one column's array."""
    arrays = blk.to_batch(block, "numpy")
    return arrays if column is None else arrays[column]
