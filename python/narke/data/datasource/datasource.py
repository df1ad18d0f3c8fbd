"""The interface of data sources, and the sources that need no files."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from narke.data import columns
from narke.data.block import BlockMetadata

PIECE_ROWS = 1 << 20


class ReadTask:
    """One task's share of a source. Calling it reads.

    Args:
        read_fn: gives the blocks (Arrow tables, DataFrames or dicts of arrays).
        metadata: what is known before reading.
        schema: Arrow schema, when known. per_task_row_limit: rows after which reading may end.
    """

    def __init__(
        self,
        read_fn: Callable[[], Iterable[Any]],
        metadata: BlockMetadata | None,
        schema: Any = None,
        per_task_row_limit: int | None = None,
    ):
        self._read_fn, self._metadata = read_fn, metadata
        self._schema, self._limit = schema, per_task_row_limit

    @property
    def metadata(self) -> BlockMetadata | None:
        """What is known before reading."""
        return self._metadata

    @property
    def schema(self) -> Any:
        """Arrow schema, or None."""
        return self._schema

    @property
    def read_fn(self) -> Callable[[], Iterable[Any]]:
        """The function that reads."""
        return self._read_fn

    @property
    def per_task_row_limit(self) -> int | None:
        """Rows after which reading may end."""
        return self._limit

    def __call__(self) -> Iterator[Any]:
        result = self._read_fn()
        if not hasattr(result, "__iter__") or isinstance(result, (pa.Table, dict)):
            raise TypeError(f"a read function must give an iterable of blocks, not {type(result).__name__}")
        yield from result


class Datasource:
    """Base of data sources; override `get_read_tasks`, and `estimate_inmemory_data_size` when it can be known."""

    def get_name(self) -> str:
        """Its name in plans and stats."""
        return type(self).__name__.removesuffix("Datasource")

    def estimate_inmemory_data_size(self) -> int | None:
        """Bytes of all blocks together, or None."""
        return None

    def get_read_tasks(self, parallelism: int, per_task_row_limit: int | None = None) -> list[ReadTask]:
        """About `parallelism` tasks that read everything between them."""
        raise NotImplementedError(f"{type(self).__name__} must define get_read_tasks(parallelism)")

    def known_rows(self) -> int | None:
        """Number of rows, when it is known without reading."""
        return None

    def with_columns(self, names: list[str]) -> Datasource | None:
        """The same source with these columns only; None when it cannot leave any out."""
        return None

    def with_predicate(self, predicate: Any) -> Datasource | None:
        """The same source with the rows for which an expression holds; None when it cannot tell."""
        return None


class Reader:
    """The older form of a source, made by `Datasource.create_reader`; override both methods."""

    def estimate_inmemory_data_size(self) -> int | None:
        """Bytes of all blocks together, or None."""
        raise NotImplementedError

    def get_read_tasks(self, parallelism: int) -> list[ReadTask]:
        """About `parallelism` tasks that read everything between them."""
        raise NotImplementedError


class ReaderSource(Datasource):
    """A source of the older form, whose `create_reader` takes the arguments of reading."""

    def __init__(self, source: Any, read_args: dict[str, Any]):
        self._name = type(source).__name__.removesuffix("Datasource")
        self._reader = source.create_reader(**read_args)

    def get_name(self) -> str:
        return self._name

    def estimate_inmemory_data_size(self) -> int | None:
        return self._reader.estimate_inmemory_data_size()

    def get_read_tasks(self, parallelism: int, per_task_row_limit: int | None = None) -> list[ReadTask]:
        return self._reader.get_read_tasks(parallelism)


class RandomIntRowDatasource(Datasource):
    """Random integers of 64 bits in columns "c_0", "c_1" and so on.

    Args:
        n: rows. num_columns: columns.
    """

    def __init__(self, n: int, num_columns: int):
        self._rows, self._columns = n, num_columns

    def estimate_inmemory_data_size(self) -> int:
        return 8 * self._rows * self._columns

    def get_read_tasks(self, parallelism: int, per_task_row_limit: int | None = None) -> list[ReadTask]:
        count = max(1, min(parallelism, self._rows))
        edges = [self._rows * i // count for i in range(count + 1)]
        return [self._task(high - low) for low, high in zip(edges[:-1], edges[1:], strict=True)]

    def _task(self, rows: int) -> ReadTask:
        names = [f"c_{i}" for i in range(self._columns)]

        def read() -> Iterator[pa.Table]:
            rng = np.random.default_rng()
            yield pa.table({name: rng.integers(0, 2**62, rows) for name in names})

        return ReadTask(read, BlockMetadata(rows, 8 * rows * self._columns))


def make_read_tasks(source: Datasource, parallelism: int, row_limit: int | None) -> list[ReadTask]:
    """`get_read_tasks`, also of sources that know no row limit."""
    accepted = inspect.signature(source.get_read_tasks).parameters
    if "per_task_row_limit" in accepted and row_limit is not None:
        return source.get_read_tasks(parallelism, per_task_row_limit=row_limit)
    return source.get_read_tasks(parallelism)


class RangeSource(Datasource):
    """Numbers from 0 in column "id", or tensors filled with them in column "data"."""

    def __init__(self, rows: int, shape: tuple[int, ...] | None = None):
        self._rows, self._shape = rows, shape

    def get_name(self) -> str:
        return "Range"

    def estimate_inmemory_data_size(self) -> int:
        return 8 * self._rows * math.prod(self._shape or (1,))

    def known_rows(self) -> int:
        return self._rows

    def get_read_tasks(self, parallelism: int, per_task_row_limit: int | None = None) -> list[ReadTask]:
        count = max(1, min(parallelism, self._rows))
        edges = [self._rows * i // count for i in range(count + 1)]
        return [self._task(low, high) for low, high in zip(edges[:-1], edges[1:], strict=True)]

    def _task(self, low: int, high: int) -> ReadTask:
        shape = self._shape
        size = 8 * (high - low) * math.prod(shape or (1,))
        metadata = BlockMetadata(high - low, size)
        return ReadTask(lambda: _range_blocks(low, high, shape), metadata)


def _range_blocks(low: int, high: int, shape: tuple[int, ...] | None) -> Iterator[pa.Table]:
    step = max(1, PIECE_ROWS // math.prod(shape or (1,)))
    for start in range(low, max(high, low + 1), step):
        numbers = np.arange(start, min(high, start + step), dtype=np.int64)
        yield _range_block(numbers, shape)


def _range_block(numbers: np.ndarray, shape: tuple[int, ...] | None) -> pa.Table:
    if shape is None:
        return pa.table({"id": columns.to_arrow(numbers)})
    spread = np.broadcast_to(numbers.reshape(-1, *(1 for _ in shape)), (len(numbers), *shape))
    return pa.table({"data": columns.tensor_from_numpy(spread)})
