"""The interface of places to write to, and the step that writes to one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

import pyarrow as pa

from narke.data import columns
from narke.data.blocks import Block

WriteReturnType = TypeVar("WriteReturnType")


@dataclasses.dataclass(frozen=True)
class WriteResult(Generic[WriteReturnType]):
    """What all writing tasks did: rows, bytes in memory, and what each `write` returned."""

    num_rows: int
    size_bytes: int
    write_returns: list[WriteReturnType]

    @classmethod
    def combine(cls, *wrs: WriteResult[WriteReturnType]) -> WriteResult[WriteReturnType]:
        """Several as one."""
        rows, size = sum(w.num_rows for w in wrs), sum(w.size_bytes for w in wrs)
        return cls(rows, size, [made for w in wrs for made in w.write_returns])


@dataclasses.dataclass
class TaskContext:
    """What a writing task knows of itself: its number, and what identifies the whole write."""

    task_idx: int
    write_uuid: str = ""
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)


class Datasink(Generic[WriteReturnType]):
    """Base of places to write to; override `write`. Tasks may run again when a worker dies: `write` must bear that."""

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        """Before the first task; `schema` is that of the rows where it is known before they are made."""

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> WriteReturnType:
        """Write one task's blocks; what it returns reaches `on_write_complete`."""
        raise NotImplementedError(f"{type(self).__name__} must define write(blocks, ctx)")

    def on_write_complete(self, write_result: WriteResult[WriteReturnType]) -> None:
        """After the last task."""

    def on_write_failed(self, error: Exception) -> None:
        """After a task failed for good."""

    def get_name(self) -> str:
        """Its name in plans and stats."""
        return type(self).__name__.removeprefix("_").removesuffix("Datasink")

    @property
    def supports_distributed_writes(self) -> bool:
        """False when it reaches only what is on the driver's machine."""
        return True

    @property
    def min_rows_per_write(self) -> int | None:
        """Rows that blocks are put together to before each `write`; None: as they come."""
        return None

    @property
    def min_bytes_per_write(self) -> int | None:
        """Bytes that blocks are put together to before each `write`; None: as they come."""
        return None


class DummyOutputDatasink(Datasink[None]):
    """Counts what it is given, and drops it. `enabled` False makes every write fail."""

    def __init__(self) -> None:
        self.rows_written = self.num_ok = self.num_failed = 0
        self.enabled = True

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> None:
        for _ in blocks:
            if not self.enabled:
                raise ValueError("writes to this DummyOutputDatasink are disabled")

    def on_write_complete(self, write_result: WriteResult[None]) -> None:
        self.num_ok += 1
        self.rows_written += write_result.num_rows

    def on_write_failed(self, error: Exception) -> None:
        self.num_failed += 1


class SinkStep:
    """The step at the end of a writing plan: gives a row of what the task wrote."""

    def __init__(self, sink: Datasink[Any], write_uuid: str):
        self.__name__ = f"Write{sink.get_name()}"
        self._sink, self._uuid = sink, write_uuid

    def __call__(self, index: int, blocks: Iterable[Block]) -> Iterator[Block]:
        counted = _Counted(blocks)
        result = self._sink.write(counted, TaskContext(index, self._uuid))
        kept = columns.objects_to_arrow([[result]])
        yield pa.table({"rows": [counted.rows], "bytes": [counted.size_bytes], "result": kept})


class _Counted:
    """Blocks with rows, counted as they are taken."""

    def __init__(self, blocks: Iterable[Block]):
        self._blocks = blocks
        self.rows = self.size_bytes = 0

    def __iter__(self) -> Iterator[Block]:
        for block in self._blocks:
            if block.num_rows:
                self.rows += block.num_rows
                self.size_bytes += block.nbytes
                yield block


def summed(results: Iterable[Block]) -> WriteResult[Any]:
    """The rows of `SinkStep` as one result."""
    rows = size = 0
    returns: list[Any] = []
    for block in results:
        rows += sum(block.column("rows").to_pylist())
        size += sum(block.column("bytes").to_pylist())
        returns.extend(kept[0] for kept in columns.to_values(block.column("result")))
    return WriteResult(rows, size, returns)
