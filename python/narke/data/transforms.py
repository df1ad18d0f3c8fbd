"""What runs inside a task or an actor of a map operator: a chain of steps from blocks to blocks."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from narke.data import blocks as blk
from narke.data import columns, grouping
from narke.data.blocks import Block
from narke.data.exceptions import RAISED_BY
from narke.data.lazy import LazyBatch, LazyBlock
from narke.data.single import Single, SingleBatch, SingleRow

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
        once: it changes something outside, so that no task may run it twice at the same time.
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
    once: bool = False

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
        return self.kind in ("block", "stream") and getattr(self.fn, "takes_lazy", False)


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
    return _over_batches(step, call, index, blocks, False)


def _owned_batches(step: Step, call: Any, index: int, blocks: BlockStream) -> Iterator[Block]:
    return _over_batches(step, call, index, blocks, True)


def _over_batches(step: Step, call: Any, index: int, blocks: BlockStream, writable: bool) -> Iterator[Block]:
    row = 0
    for block in blk.rebatch(blocks, step.batch_size):
        with _located(step, index, f"the batch of rows {row} to {row + block.num_rows}"):
            yield from _called(call, _batch_of(block, step.batch_format, writable))
        row += block.num_rows


def _batch_of(block: Any, batch_format: str | None, writable: bool) -> Any:
    """What the function sees of a block."""
    if isinstance(block, LazyBlock):
        return LazyBatch(block, writable)
    batch = blk.to_batch(block, batch_format)
    if writable:
        batch = blk.writable(batch)
    return SingleBatch(batch) if type(batch) is dict and len(batch) == 1 else batch


def _groups(step: Step, call: Any, index: int, blocks: BlockStream) -> Iterator[Block]:
    return _over_groups(step, call, index, blocks, False)


def _owned_groups(step: Step, call: Any, index: int, blocks: BlockStream) -> Iterator[Block]:
    return _over_groups(step, call, index, blocks, True)


def _over_groups(step: Step, call: Any, index: int, blocks: BlockStream, writable: bool) -> Iterator[Block]:
    for group in grouping.iter_groups(blocks, step.keys):
        where = {key: columns.to_values(group.column(key).slice(0, 1))[0] for key in step.keys}
        with _located(step, index, f"the group of {where}"):
            batch = blk.to_batch(group, step.batch_format)
            yield from _called(call, blk.writable(batch) if writable else batch)


@contextlib.contextmanager
def _located(step: Step, index: int, what: str) -> Iterator[None]:
    """Errors inside say which function failed, and over what."""
    try:
        yield
    except Exception as error:
        note = f"{RAISED_BY} {step_title(step)} over {what} of task {index}."
        if note not in getattr(error, "__notes__", ()) and hasattr(error, "add_note"):
            error.add_note(note)
        raise


def step_title(step: Step) -> str:
    """How stats and errors call a step."""
    title = TITLES.get(step.kind.removeprefix("owned_"))
    called = getattr(step.fn, "__name__", type(step.fn).__name__)
    return f"{title}({called})" if title else called


TITLES = {
    "batches": "MapBatches",
    "groups": "MapGroups",
    "rows": "Map",
    "flat": "FlatMap",
    "filter": "Filter",
}


def _called(call: Any, batch: Any) -> Iterator[Any]:
    result = call(batch)
    if isinstance(result, Iterator):
        yield from (_as_block(part, batch) for part in result)
    else:
        yield _as_block(result, batch)


def _as_block(result: Any, batch: Any) -> Any:
    """The block of what a function gave; a bare array is the column of that name, or "item"."""
    if isinstance(result, LazyBatch):
        lazy = result.to_block()
        return blk.from_batch(dict(result)) if lazy is None else lazy
    if isinstance(result, np.ndarray) or hasattr(result, "detach"):
        if isinstance(batch, Single) and len(batch) == 1:  # type: ignore[arg-type]
            return blk.from_batch({next(iter(batch)): result})  # type: ignore[call-overload]
    return blk.from_batch(result)


def _rows(step: Step, call: Any, index: int, blocks: BlockStream) -> Iterator[Block]:
    for block in blocks:
        yield blk.from_rows([_as_row(out) for out in _each_row(step, call, index, block)])


def _each_row(step: Step, call: Any, index: int, block: Block) -> Iterator[Any]:
    """What the function gives for each row of a block."""
    row, at = None, 0
    rows = blk.iter_rows(block)
    if block.num_columns == 1:
        rows = map(SingleRow, rows)
    try:
        for at, row in enumerate(rows):  # noqa: B007  # named in the error
            yield call(row)
    except Exception as error:
        if hasattr(error, "add_note"):
            error.add_note(f"{RAISED_BY} {step_title(step)} over row {at} of task {index}: {row!r:.200}")
        raise


def _as_row(value: Any) -> Any:
    if not hasattr(value, "keys"):
        raise ValueError(
            f"the function must return a dict for a row, not {type(value).__name__}: {value!r:.100}"
        )
    return value


def _flat(step: Step, call: Any, index: int, blocks: BlockStream) -> Iterator[Block]:
    for block in blocks:
        yield blk.from_rows([_as_row(o) for outs in _each_row(step, call, index, block) for o in outs])


def _filter(step: Step, call: Any, index: int, blocks: BlockStream) -> Iterator[Block]:
    for block in blocks:
        kept = (bool(held) for held in _each_row(step, call, index, block))
        yield block.filter(pa.array(np.fromiter(kept, dtype=bool, count=block.num_rows)))


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
