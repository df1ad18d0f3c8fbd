"""The interface of data sources, and the sources that need no files."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from narke.data import columns
from narke.data.block import BlockMetadata
from narke.data.formulas import Sequence
from narke.data.lazy import LazyBlock

PIECE_ROWS = 1 << 17
RANGE_SCHEMA = pa.schema([("id", pa.int64())])


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
    """Base of data sources; override `get_read_tasks`, and `estimate_inmemory_data_size` when it can be known.

    A source that can leave out columns or rows while it reads says so by `supports_projection_pushdown` and
    `supports_predicate_pushdown`, and goes by `get_projection_map` and `get_current_predicate`; what it leaves in by
    mistake is taken out after it.
    """

    _projection_map: dict[str, str] | None = None
    _predicate_expr: Any = None
    exact_pushdown = False  # whether it leaves out all that it is told to, in the order of columns it is told

    def get_name(self) -> str:
        """Its name in plans and stats."""
        return type(self).__name__.removesuffix("Datasource")

    def estimate_inmemory_data_size(self) -> int | None:
        """Bytes of all blocks together, or None."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """About `parallelism` tasks that read everything between them."""
        raise NotImplementedError(f"{type(self).__name__} must define get_read_tasks(parallelism)")

    def create_reader(self, **read_args: Any) -> Reader:
        """The older form of a source: what reads it with some arguments."""
        return PreparedReader(self, read_args)

    def prepare_read(self, parallelism: int, **read_args: Any) -> list[ReadTask]:
        """The oldest form of a source: its read tasks, with some arguments."""
        raise NotImplementedError(f"{type(self).__name__} must define get_read_tasks(parallelism)")

    @property
    def should_create_reader(self) -> bool:
        """Whether it is of an older form: it does not define `get_read_tasks`."""
        return type(self).get_read_tasks is Datasource.get_read_tasks

    @property
    def supports_distributed_reads(self) -> bool:
        """False when it reaches only what is on the driver's machine."""
        return True

    def supports_projection_pushdown(self) -> bool:
        """Whether it can leave out columns."""
        return False

    def get_projection_map(self) -> dict[str, str] | None:
        """The columns to read, as keys; None for all."""
        return self._projection_map

    def apply_projection(self, projection_map: dict[str, str] | None) -> Datasource:
        """The same source with those of its columns that are keys of a dict; None for all."""
        other = copy.copy(self)
        if projection_map is not None:
            known = projection_map if self._projection_map is None else self._projection_map
            other._projection_map = {name: name for name in known if name in projection_map}
        return other

    def supports_predicate_pushdown(self) -> bool:
        """Whether it can leave out rows."""
        return False

    def get_current_predicate(self) -> Any:
        """The expression that holds for the rows to read; None for all."""
        return self._predicate_expr

    def apply_predicate(self, predicate_expr: Any) -> Datasource:
        """The same source with the rows for which an expression holds, too."""
        other = copy.copy(self)
        before = self._predicate_expr
        other._predicate_expr = predicate_expr if before is None else before & predicate_expr
        return other

    def known_rows(self) -> int | None:
        """Number of rows, when it is known without reading."""
        return None

    def known_schema(self) -> Any:
        """Arrow schema, when it is known without reading."""
        return None

    def with_columns(self, names: list[str]) -> Datasource | None:
        """The same source with these columns only; None when it cannot leave any out."""
        wanted = {name: name for name in names}
        return self.apply_projection(wanted) if self.supports_projection_pushdown() else None

    def with_dictionaries(self, names: list[str]) -> Datasource | None:
        """The same source, which may give texts of some columns as dictionaries; None when it cannot."""
        return None

    def with_predicate(self, predicate: Any) -> Datasource | None:
        """The same source with the rows for which an expression holds; None when it cannot tell."""
        return self.apply_predicate(predicate) if self.supports_predicate_pushdown() else None


class Reader:
    """The older form of a source, made by `Datasource.create_reader`; override both methods."""

    def estimate_inmemory_data_size(self) -> int | None:
        """Bytes of all blocks together, or None."""
        raise NotImplementedError

    def get_read_tasks(self, parallelism: int) -> list[ReadTask]:
        """About `parallelism` tasks that read everything between them."""
        raise NotImplementedError


class PreparedReader(Reader):
    """A reader that asks a source's `prepare_read`."""

    def __init__(self, source: Datasource, read_args: dict[str, Any]):
        self._source, self._args = source, read_args

    def estimate_inmemory_data_size(self) -> int | None:
        return self._source.estimate_inmemory_data_size()

    def get_read_tasks(self, parallelism: int) -> list[ReadTask]:
        return self._source.prepare_read(parallelism, **self._args)


class ReaderSource(Datasource):
    """A source of the older form, whose `create_reader` takes the arguments of reading."""

    def __init__(self, source: Any, read_args: dict[str, Any]):
        self._name = type(source).__name__.removesuffix("Datasource")
        self._reader = source.create_reader(**read_args)

    def get_name(self) -> str:
        return self._name

    def estimate_inmemory_data_size(self) -> int | None:
        return self._reader.estimate_inmemory_data_size()

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
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

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        count = max(1, min(parallelism, self._rows))
        edges = [self._rows * i // count for i in range(count + 1)]
        return [self._task(high - low) for low, high in zip(edges[:-1], edges[1:], strict=True)]

    def _task(self, rows: int) -> ReadTask:
        names = [f"c_{i}" for i in range(self._columns)]

        def read() -> Iterator[pa.Table]:
            rng = np.random.default_rng()
            yield pa.table({name: rng.integers(0, 2**62, rows) for name in names})

        return ReadTask(read, BlockMetadata(rows, 8 * rows * self._columns))


def make_read_tasks(
    source: Datasource, parallelism: int, row_limit: int | None, context: Any = None
) -> list[ReadTask]:
    """`get_read_tasks`, also of sources that know no row limit or settings."""
    accepted = inspect.signature(source.get_read_tasks).parameters
    known = {"per_task_row_limit": row_limit, "data_context": context}
    given = {name: value for name, value in known.items() if name in accepted and value is not None}
    return source.get_read_tasks(parallelism, **given)


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

    def known_schema(self) -> Any:
        return _tensors(np.zeros(0, np.int64), self._shape).schema if self._shape else RANGE_SCHEMA

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        count = max(1, min(parallelism, self._rows))
        edges = [self._rows * i // count for i in range(count + 1)]
        return [self._task(low, high) for low, high in zip(edges[:-1], edges[1:], strict=True)]

    def _task(self, low: int, high: int) -> ReadTask:
        shape = self._shape
        size = 8 * (high - low) * math.prod(shape or (1,))
        metadata = BlockMetadata(high - low, size)
        return ReadTask(lambda: _range_blocks(low, high, shape), metadata)


def _range_blocks(low: int, high: int, shape: tuple[int, ...] | None) -> Iterator[Any]:
    step = max(1, PIECE_ROWS // math.prod(shape or (1,)))
    for start in range(low, max(high, low + 1), step):
        rows = min(high, start + step) - start
        if shape is None:
            yield LazyBlock(rows, {"id": Sequence(start, rows)}, 8 * rows, {"id": pa.int64()})
        else:
            yield _tensors(np.arange(start, start + rows, dtype=np.int64), shape)


def _tensors(numbers: np.ndarray, shape: tuple[int, ...]) -> pa.Table:
    spread = np.broadcast_to(numbers.reshape(-1, *(1 for _ in shape)), (len(numbers), *shape))
    return pa.table({"data": columns.tensor_from_numpy(spread)})
