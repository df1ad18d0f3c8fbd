"""What runs inside a task or an actor of a map operator: a chain of steps from blocks to blocks."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from narke.data import blocks as blk
from narke.data import grouping
from narke.data.blocks import Block
from narke.data.lazy import LazyBatch, LazyBlock

BlockStream = Iterable[Block]


@dataclasses.dataclass(frozen=True)
class Step:
    """One function and how it is fed.

    Args:
        kind: "batches", "groups", "rows", "flat", "filter" (functions of the user's), "block" (block to block), or
            "stream" (a task's number and its blocks to blocks). "owned_" batches and groups may be written to.
        fn: the function, or a class that is built once per actor.
        args, kwargs: further arguments of each call. init_args, init_kwargs: arguments of the class.
        batch_size: rows per call of "batches"; None gives whole blocks.
        batch_format: form of a batch. keys: columns by which blocks of "groups" are sorted.
    """

    kind: str
    fn: Any
    args: tuple = ()
    kwargs: dict = dataclasses.field(default_factory=dict)
    init_args: tuple = ()
    init_kwargs: dict = dataclasses.field(default_factory=dict)
    batch_size: int | None = None
    batch_format: str | None = "default"
    keys: tuple[str, ...] = ()

    def bind(self) -> Callable[[int, BlockStream], Iterator[Block]]:
        """Build the class if it is one; gives the function from a task's number and blocks to blocks."""
        call = self.fn(*self.init_args, **self.init_kwargs) if isinstance(self.fn, type) else self.fn
        run = _KINDS[self.kind]
        bound = _with_arguments(_synchronous(call), self.args, self.kwargs)
        if self.takes_lazy:
            return lambda index, blocks: run(self, bound, index, blocks)
        return lambda index, blocks: run(self, bound, index, read(blocks))

    @property
    def takes_lazy(self) -> bool:
        """Whether it has a use for blocks whose columns are not read yet."""
        if self.kind in ("batches", "owned_batches"):
            return self.batch_size is None and self.batch_format in ("default", "numpy")
        return self.kind == "block" and getattr(self.fn, "takes_lazy", False)


@dataclasses.dataclass(frozen=True)
class Chain:
    """Steps that run in one task, one after another, block by block.

    Args:
        steps: in order; none passes blocks on.
        max_bytes: size above which another block is started.
        row_limit: rows after which a task stops; None for all.
    """

    steps: tuple[Step, ...] = ()
    max_bytes: int = 128 * 1024 * 1024
    row_limit: int | None = None

    def bind(self) -> Callable[[int, BlockStream], Iterator[Block]]:
        """Build what needs building; gives the function from a task's number and blocks to bounded blocks."""
        bound = [step.bind() for step in self.steps]

        def run(index: int, blocks: BlockStream) -> Iterator[Block]:
            stream: BlockStream = (
                blocks if self.row_limit is None else first_rows(read(blocks), self.row_limit)
            )
            for step in bound:
                stream = step(index, stream)
            return sized(read(stream), self.max_bytes)

        return run


def read(blocks: Iterable[Any]) -> Iterator[Block]:
    """The blocks, with all their columns read."""
    return (block.table() if isinstance(block, LazyBlock) else block for block in blocks)


def first_rows(blocks: BlockStream, limit: int) -> Iterator[Block]:
    """The blocks up to `limit` rows in all."""
    left = limit
    for block in blocks:
        yield block if block.num_rows <= left else blk.compact(block.slice(0, left))
        left -= block.num_rows
        if left <= 0:
            return


def sized(blocks: BlockStream, max_bytes: int) -> Iterator[Block]:
    """The same rows in blocks of about `max_bytes`: small ones joined, large ones cut. At least one block."""
    held: list[Block] = []
    size = 0
    gave = False
    for block in blocks:
        if held and size + block.nbytes > max_bytes and any(b.num_rows for b in held):
            yield from blk.split_large(blk.concat(held), max_bytes)
            held, size, gave = [], 0, True
        held.append(block)
        size += block.nbytes
    if held and (not gave or any(b.num_rows for b in held)):
        yield from blk.split_large(blk.concat(held), max_bytes)
    elif not gave:
        yield pa.table({})


def _synchronous(call: Any) -> Any:
    """A coroutine function as a plain one; others as they are."""
    method = call if inspect.isroutine(call) else getattr(call, "__call__", call)  # noqa: B004
    if inspect.isasyncgenfunction(method):
        return lambda *a, **k: asyncio.run(_collect(call(*a, **k)))
    if inspect.iscoroutinefunction(method):
        return lambda *a, **k: asyncio.run(call(*a, **k))
    return call


async def _collect(items: Any) -> Iterator[Any]:
    return iter([item async for item in items])


def _with_arguments(call: Any, args: tuple, kwargs: dict) -> Any:
    if not args and not kwargs:
        return call
    return lambda first: call(first, *args, **kwargs)


def _batches(step: Step, call: Any, index: int, blocks: BlockStream) -> Iterator[Block]:
    for batch in blk.rebatch(blocks, step.batch_size):
        if isinstance(batch, LazyBlock):
            yield from _called(call, LazyBatch(batch))
        else:
            yield from _called(call, blk.to_batch(batch, step.batch_format))


def _owned_batches(step: Step, call: Any, index: int, blocks: BlockStream) -> Iterator[Block]:
    for batch in blk.rebatch(blocks, step.batch_size):
        if isinstance(batch, LazyBlock):
            yield from _called(call, LazyBatch(batch, writable=True))
        else:
            yield from _called(call, blk.writable(blk.to_batch(batch, step.batch_format)))


def _groups(step: Step, call: Any, index: int, blocks: BlockStream) -> Iterator[Block]:
    for group in grouping.iter_groups(blocks, step.keys):
        yield from _called(call, blk.to_batch(group, step.batch_format))


def _owned_groups(step: Step, call: Any, index: int, blocks: BlockStream) -> Iterator[Block]:
    for group in grouping.iter_groups(blocks, step.keys):
        yield from _called(call, blk.writable(blk.to_batch(group, step.batch_format)))


def _called(call: Any, batch: Any) -> Iterator[Any]:
    result = call(batch)
    if isinstance(result, Iterator):
        yield from (_as_block(part) for part in result)
    else:
        yield _as_block(result)


def _as_block(result: Any) -> Any:
    lazy = result.to_block() if isinstance(result, LazyBatch) else None
    return blk.from_batch(result) if lazy is None else lazy


def _rows(step: Step, call: Any, index: int, blocks: BlockStream) -> Iterator[Block]:
    for block in blocks:
        yield blk.from_rows([_as_row(call(row)) for row in blk.iter_rows(block)])


def _as_row(value: Any) -> Any:
    if not hasattr(value, "keys"):
        raise ValueError(
            f"the function must return a dict for a row, not {type(value).__name__}: {value!r:.100}"
        )
    return value


def _flat(step: Step, call: Any, index: int, blocks: BlockStream) -> Iterator[Block]:
    for block in blocks:
        yield blk.from_rows([_as_row(out) for row in blk.iter_rows(block) for out in call(row)])


def _filter(step: Step, call: Any, index: int, blocks: BlockStream) -> Iterator[Block]:
    for block in blocks:
        mask = np.fromiter(
            (bool(call(row)) for row in blk.iter_rows(block)), dtype=bool, count=block.num_rows
        )
        yield block.filter(pa.array(mask))


def _block(step: Step, call: Any, index: int, blocks: BlockStream) -> Iterator[Block]:
    return (call(block) for block in blocks)


def _stream(step: Step, call: Any, index: int, blocks: BlockStream) -> Iterator[Block]:
    return call(index, blocks)


_KINDS: dict[str, Callable[[Step, Any, int, BlockStream], Iterator[Block]]] = {
    "batches": _batches,
    "owned_batches": _owned_batches,
    "groups": _groups,
    "owned_groups": _owned_groups,
    "rows": _rows,
    "flat": _flat,
    "filter": _filter,
    "block": _block,
    "stream": _stream,
}
