"""Exchanges: operators that send each row to one of several partitions and then work on whole partitions."""

from __future__ import annotations

import copy
import math
import secrets
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np

import narke
from narke.data import blocks as blk
from narke.data import grouping, kernels, partials
from narke.data.blocks import Block
from narke.data.context import DataContext
from narke.data.execute import tasks
from narke.data.joining import ONE_SIDED, JoinWith, Terms, join_each
from narke.data.near_names import unknown
from narke.data.plan import Bundle, Limits, Work, Works
from narke.data.random_config import RandomSeedConfig
from narke.data.transforms import read

SAMPLES = 400
SMALL_BYTES = 64 * 1024 * 1024
PART_BYTES = 256 * 1024
MOST_BYTES = 512 * 1024 * 1024
LEAST_PARTITIONS = 8
BROADCAST_BYTES = 32 * 1024 * 1024
SMALL_SIDE_BYTES = 1024 * 1024
LOPSIDED = 4  # times that the left side of a join must be larger than the right to stay where it is

Inputs = list[list[Bundle]]


class Exchange:
    """Base of planners that partition each block in a task, and merge each partition in another."""

    def plan(self, inputs: Inputs, limits: Limits) -> Works:
        """The tasks that partition blocks, and then those that merge partitions."""
        bundles = [b for b in inputs[0] if b.rows]
        if not bundles:
            yield from (Work(tasks.run_slices, (i, [(0, 0)], b.ref)) for i, b in enumerate(inputs[0][:1]))
            return
        this = narke.put(self)
        count, shared = self.prepare(this, bundles, limits)
        parts = yield from self._partition(this, shared, count, bundles)
        inputs.clear()
        del bundles
        for index in range(count):
            yield Work(tasks.run_merge, (this, shared, index, *parts[index]))
            parts[index] = []

    def _partition(
        self, this: Any, shared: Any, count: int, bundles: list[Bundle]
    ) -> Generator[Work, list[Any], list[list[Any]]]:
        if count == 1:
            return [[b.ref for b in bundles]]
        parts: list[list[Any]] = [[] for _ in range(count)]
        for index, group in enumerate(grouped(bundles, count * PART_BYTES)):
            args = (this, shared, count, index, *(b.ref for b in group))
            made = yield Work(tasks.run_partition, args, count)
            for part, ref in zip(parts, made, strict=True):
                part.append(ref)
        return parts

    def prepare(self, this: Any, bundles: list[Bundle], limits: Limits) -> tuple[int, Any]:
        """(number of partitions, what all tasks are told)."""
        raise NotImplementedError

    def sample(self, index: int, block: Block) -> Block:
        """Some rows of a block."""
        raise NotImplementedError

    def partition(self, shared: Any, count: int, index: int, block: Block) -> list[Block]:
        """The rows of the block for each partition."""
        raise NotImplementedError

    def merge(self, shared: Any, index: int, parts: list[Block]) -> Iterator[Block]:
        """What becomes of a partition."""
        raise NotImplementedError


def _in_turns(start: Callable[[int], Any], count: int, width: int) -> list[Any]:
    """The results of `count` tasks, of which no more than `width` have begun and not ended."""
    refs: list[Any] = []
    for place in range(count):
        if place >= width:
            narke.wait(refs[place - width :], num_returns=1, fetch_local=False)
        refs.append(start(place))
    return narke.get(refs)


def grouped(bundles: list[Bundle], least_bytes: int) -> Iterator[list[Bundle]]:
    """Neighbours together until they have so many bytes, where there is more than `SMALL_BYTES` in all.

    Parts of a few kilobytes would cost more in counting than in copying, and their owner would hold them in its memory.
    """
    if sum(b.size_bytes for b in bundles) < SMALL_BYTES:
        least_bytes = 0
    held: list[Bundle] = []
    for bundle in bundles:
        held.append(bundle)
        if sum(b.size_bytes for b in held) >= min(least_bytes, MOST_BYTES):
            yield held
            held = []
    if held:
        yield held


def spread(bundles: list[Bundle], limits: Limits) -> int:
    """How many partitions blocks go to: as many as blocks, but no more than fill the tasks that merge them."""
    total = sum(b.size_bytes for b in bundles)
    return min(len(bundles), max(LEAST_PARTITIONS, math.ceil(total / limits.merge_bytes)))


class RandomShuffle(Exchange):
    """Every row to a random place. The same seed and blocks give the same order."""

    def __init__(self, seed: Any, num_blocks: int | None):
        self._config = RandomSeedConfig.create_seed_config(seed)
        self.seed = secrets.randbits(32) if self._config.seed is None else self._config.seed
        self.num_blocks = num_blocks

    def plan(self, inputs: Inputs, limits: Limits) -> Works:
        drawn = self._config.get_seed_tuple(data_context=DataContext.get_current())
        this = copy.copy(self)
        if drawn is not None and len(drawn) > 1:
            this.seed = int(np.random.SeedSequence([abs(n) for n in drawn]).generate_state(1)[0])
        yield from Exchange.plan(this, inputs, limits)

    def prepare(self, this: Any, bundles: list[Bundle], limits: Limits) -> tuple[int, Any]:
        return self.num_blocks or spread(bundles, limits), None

    def _seed(self, *place: int) -> int:
        return int(np.random.SeedSequence([abs(self.seed), *place]).generate_state(1, np.uint64)[0])

    def partition(self, shared: Any, count: int, index: int, block: Block) -> list[Block]:
        return grouping.split_by_id(
            block, kernels.random_ids(self._seed(0, index), count, block.num_rows), count
        )

    def merge(self, shared: Any, index: int, parts: list[Block]) -> Iterator[Block]:
        whole = blk.concat(parts).combine_chunks()  # copied in order once, rows are then picked in one place
        yield kernels.take(whole, kernels.permutation(self._seed(1, index), whole.num_rows))


class Sort(Exchange):
    """Rows in order of keys; partitions are ranges between keys that a sample shows, or that are given."""

    def __init__(self, keys: list[str], descending: list[bool], boundaries: list[Any] | None = None):
        self.keys, self.descending, self.boundaries = keys, descending, boundaries

    def prepare(self, this: Any, bundles: list[Bundle], limits: Limits) -> tuple[int, Any]:
        for key in self.keys:
            known = next((b.schema.names for b in bundles if key not in b.schema.names), None)
            if known is not None:
                raise ValueError(f"cannot sort: {unknown([key], known)}")
        bounds = self._given() if self.boundaries is not None else self._sampled(this, bundles, limits)
        return bounds.num_rows + 1, narke.put(bounds)

    def _given(self) -> Block:
        ordered = sorted(self.boundaries or [], reverse=self.descending[0])
        return blk.from_rows([{self.keys[0]: value} for value in ordered])

    def _sampled(self, this: Any, bundles: list[Bundle], limits: Limits) -> Block:
        if len(bundles) == 1:
            return bundles[0].schema.empty_table().select(self.keys)
        run = tasks.remote(tasks.run_sample, {**limits.options, "num_returns": 1})
        found = _in_turns(
            lambda place: run.remote(this, place, bundles[place].ref), len(bundles), limits.width
        )
        ordered = grouping.sort(blk.concat(found), self.keys, self.descending)
        cuts = np.linspace(0, ordered.num_rows, spread(bundles, limits) + 1)[1:-1].astype(np.int64)
        return ordered.take(cuts)

    def sample(self, index: int, block: Block) -> Block:
        picks = np.random.default_rng([7, index]).integers(0, block.num_rows, min(SAMPLES, block.num_rows))
        return blk.take(block.select(self.keys), picks)

    def partition(self, shared: Any, count: int, index: int, block: Block) -> list[Block]:
        ids = grouping.partition_of(block, shared, self.keys, self.descending)
        if self.boundaries is not None and self.descending[0]:  # each begins a range of ascending values
            ids = ids - grouping.among(block.column(self.keys[0]), shared.column(self.keys[0]))
        return grouping.split_by_id(block, ids, count)

    def merge(self, shared: Any, index: int, parts: list[Block]) -> Iterator[Block]:
        yield grouping.sort(blk.concat(parts).combine_chunks(), self.keys, self.descending)


class _ByHash(Exchange):
    """Rows of equal keys to the same partition."""

    def __init__(self, keys: list[str], num_partitions: int | None):
        self.keys, self.num_partitions = keys, num_partitions

    def partition(self, shared: Any, count: int, index: int, block: Block) -> list[Block]:
        ids = kernels.bucket_ids(grouping.hash_rows(block, self.keys), count)
        return grouping.split_by_id(block, ids, count)


class Aggregate(_ByHash):
    """Results of a grouped aggregation from the tables that `partials.Partial` made."""

    def __init__(self, keys: list[str], aggs: list[Any], num_partitions: int | None):
        super().__init__(keys, num_partitions)
        self.aggs = aggs

    def prepare(self, this: Any, bundles: list[Bundle], limits: Limits) -> tuple[int, Any]:
        small = sum(b.size_bytes for b in bundles) < SMALL_BYTES
        return self.num_partitions or (1 if small else spread(bundles, limits)), None

    def merge(self, shared: Any, index: int, parts: list[Block]) -> Iterator[Block]:
        yield partials.finish(parts, self.keys, self.aggs)


class HashPartition(_ByHash):
    """Whole groups in one block each time, sorted by key when asked."""

    def __init__(self, keys: list[str], num_partitions: int | None, sort: bool):
        super().__init__(keys, num_partitions)
        self.sort = sort

    def prepare(self, this: Any, bundles: list[Bundle], limits: Limits) -> tuple[int, Any]:
        missing = [k for k in self.keys if k not in bundles[0].schema.names]
        if missing:
            raise ValueError(f"cannot group: {unknown(missing, bundles[0].schema.names)}")
        return self.num_partitions or spread(bundles, limits), None

    def merge(self, shared: Any, index: int, parts: list[Block]) -> Iterator[Block]:
        whole = blk.concat(parts)
        yield grouping.sort(whole, self.keys, [False] * len(self.keys)) if self.sort else whole


class Join(_ByHash):
    """Rows of two inputs with equal keys side by side."""

    def __init__(
        self, how: str, keys: tuple[str, ...], right_keys: tuple[str, ...], count: int, suffixes: Any
    ):
        super().__init__(list(keys), count)
        self.terms = Terms(how, tuple(keys), tuple(right_keys), suffixes)

    def plan(self, inputs: Inputs, limits: Limits) -> Works:
        sides = [[b for b in bundles if b.rows] or bundles[:1] for bundles in inputs]
        this = narke.put(self)
        count = self.num_partitions or 1
        parts = []
        for keys, full in zip((self.keys, list(self.terms.right_keys)), sides, strict=True):
            by_hash = _ByHash(keys, count)
            parts.append((yield from by_hash._partition(narke.put(by_hash), None, count, full)))
        for index, (left, right) in enumerate(zip(*parts, strict=True)):
            yield Work(tasks.run_merge, (this, len(left), index, *left, *right))

    def step(self, right: list[Bundle], left_bytes: int | None) -> JoinWith | None:
        """The join as a step over blocks of the left side, where the right is so small that each may meet all of it.

        Args:
            right: all of the right side. left_bytes: what the left side has, about; None when nobody knows.
        """
        size = sum(b.size_bytes for b in right)
        large = left_bytes is not None and size * LOPSIDED > left_bytes
        if self.terms.how not in ONE_SIDED or size > BROADCAST_BYTES or (large and size > SMALL_SIDE_BYTES):
            return None
        full = [b for b in right if b.rows] or right[:1]
        return JoinWith(self.terms, [b.ref for b in full], list(full[0].schema.names)) if full else None

    def merge(self, shared: Any, index: int, parts: list[Block]) -> Iterator[Block]:
        left, right = blk.concat(parts[:shared]), blk.concat(parts[shared:])
        yield from read(join_each(self.terms, [left], right))


class Repartition:
    """The same rows in the same order, in `count` blocks of nearly equal size."""

    def __init__(self, count: int):
        self.count = count

    def plan(self, inputs: Inputs, limits: Limits) -> Works:
        """One task an output block, over the rows it takes from each input block."""
        total = sum(b.rows for b in inputs[0])
        edges = [total * i // self.count for i in range(self.count + 1)]
        yield from slices(inputs[0], edges)


class RowTarget:
    """The same rows in the same order, in blocks of `rows` rows; the last may be smaller."""

    def __init__(self, rows: int):
        self.rows = rows

    def plan(self, inputs: Inputs, limits: Limits) -> Works:
        """One task an output block."""
        total = sum(b.rows for b in inputs[0])
        yield from slices(inputs[0], [*range(0, total, self.rows), total])


class Zip:
    """Columns of two inputs of equally many rows, side by side, in the blocks of the first."""

    def plan(self, inputs: Inputs, limits: Limits) -> Works:
        """One task a block of the first input."""
        left, right = inputs
        rows = [sum(b.rows for b in side) for side in inputs]
        if rows[0] != rows[1]:
            raise ValueError(f"zip needs datasets of equally many rows; these have {rows[0]} and {rows[1]}")
        edges = np.cumsum([0, *(b.rows for b in left)])
        for bundle, work in zip(left, slices(right, edges.tolist()), strict=True):
            index, ranges, *refs = work.args
            yield Work(tasks.run_zip, (index, ranges, bundle.ref, *refs))


class ShuffleOrder:
    """The same blocks in random order."""

    def __init__(self, seed: int | None):
        self.seed = seed

    def plan(self, inputs: Inputs, limits: Limits) -> Works:
        """One task a block."""
        order = np.random.default_rng(self.seed).permutation(len(inputs[0]))
        for index, place in enumerate(order):
            bundle = inputs[0][place]
            yield Work(tasks.run_slices, (index, [(0, bundle.rows)], bundle.ref))


def slices(bundles: list[Bundle], edges: list[int]) -> Iterator[Work]:
    """A task for each two neighbouring edges, that puts together the rows between them."""
    starts = np.cumsum([0, *(b.rows for b in bundles)])
    for index, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        first = max(0, int(np.searchsorted(starts, low, side="right")) - 1)
        ranges: list[tuple[int, int]] = []
        refs: list[Any] = []
        for place in range(first, len(bundles)):
            if starts[place] >= high and refs:
                break
            begin, end = max(low, starts[place]), min(high, starts[place + 1])
            ranges.append((int(begin - starts[place]), int(max(begin, end) - starts[place])))
            refs.append(bundles[place].ref)
        yield Work(tasks.run_slices, (index, ranges, *refs))
