"""Ray's names for what data sources say of their blocks."""

from __future__ import annotations

import dataclasses
import enum
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

import narke
from narke.data import blocks as blk
from narke.data import columns, grouping
from narke.data.blocks import upsert, zipped
from narke.data.column_accessor import BlockColumnAccessor, merged, sort_keys
from narke.data.plan import Bundle

Block: TypeAlias = pa.Table
BlockColumn: TypeAlias = pa.ChunkedArray
BatchColumn: TypeAlias = Any
DataBatchColumn: TypeAlias = Any
DataBatch: TypeAlias = Any
BlockPartition: TypeAlias = list[Any]
BlockPartitionMetadata: TypeAlias = list[Any]
Schema: TypeAlias = pa.Schema
UserDefinedFunction: TypeAlias = Callable[..., Any]
DEFAULT_BATCH_FORMAT = "numpy"
VALID_BATCH_FORMATS = ["pandas", "pyarrow", "numpy", None]


class CustomOpStats:
    """Base of what operators of the user's own tell of their tasks."""


@dataclasses.dataclass(frozen=True)
class TaskExecWorkerStats:
    """What a task tells of itself: seconds, most bytes of its own memory, and what operators add."""

    task_wall_time_s: float
    max_uss_bytes: int | None = None
    custom_op_stats: list[CustomOpStats] = dataclasses.field(default_factory=list)


def _own_node() -> str:
    return narke.get_runtime_context().get_node_id()


@dataclasses.dataclass(frozen=True)
class BlockExecStats:
    """What making a block took, in seconds, and where it was made; None where nobody measured.

    Args:
        task_idx, node_id: the task, and where it ran. start_time_s, end_time_s, wall_time_s: of the whole.
        block_transform_time_s: in the chain of functions, of which input_prep_time_s went to batches,
            function_body_time_s to the functions and output_build_time_s to blocks; stage_time_s by function.
        block_ser_time_s: in putting the block into the store. cpu_time_s: of the process.
    """

    task_idx: int | None = None
    node_id: str = dataclasses.field(default_factory=_own_node)
    start_time_s: float | None = None
    end_time_s: float | None = None
    wall_time_s: float | None = None
    block_transform_time_s: float | None = 0
    input_prep_time_s: float | None = None
    function_body_time_s: float | None = None
    output_build_time_s: float | None = None
    stage_time_s: tuple[float, ...] | None = None
    block_ser_time_s: float | None = None
    cpu_time_s: float | None = None

    @staticmethod
    def builder() -> _ExecStatsBuilder:
        """Something that measures from now until `build`."""
        return _ExecStatsBuilder()


class _ExecStatsBuilder:
    def __init__(self) -> None:
        self._begun_s, self._cpu_s = time.perf_counter(), time.process_time()

    def build(self, **more: Any) -> BlockExecStats:
        """What it took until now; `more` are further fields."""
        end_s = time.perf_counter()
        taken = {"start_time_s": self._begun_s, "end_time_s": end_s, "wall_time_s": end_s - self._begun_s}
        return BlockExecStats(**{**taken, "cpu_time_s": time.process_time() - self._cpu_s, **more})


@dataclasses.dataclass
class BlockStats:
    """Rows and bytes of a block; None where not known. `exec_stats` and `task_exec_stats` are the caller's own."""

    num_rows: int | None
    size_bytes: int | None
    exec_stats: Any = None
    task_exec_stats: Any = None


@dataclasses.dataclass
class BlockMetadata(BlockStats):
    """`BlockStats`, and the files that the block comes from."""

    input_files: tuple[str, ...] | None = None

    def to_stats(self) -> BlockStats:
        """The part without files."""
        return BlockStats(self.num_rows, self.size_bytes, self.exec_stats, self.task_exec_stats)


@dataclasses.dataclass
class BlockMetadataWithSchema(BlockMetadata):
    """`BlockMetadata`, and the Arrow schema."""

    schema: Any = None

    @property
    def metadata(self) -> BlockMetadata:
        """The part without the schema."""
        return BlockMetadata(
            self.num_rows, self.size_bytes, self.exec_stats, self.task_exec_stats, self.input_files
        )

    @staticmethod
    def from_metadata(metadata: BlockMetadata, schema: Any = None) -> BlockMetadataWithSchema:
        """What is known of a block, and its schema."""
        return BlockMetadataWithSchema(**vars(metadata), schema=schema)

    @staticmethod
    def from_block(
        block: Any, block_exec_stats: Any = None, task_exec_stats: Any = None
    ) -> BlockMetadataWithSchema:
        """What a block shows of itself."""
        accessor = BlockAccessor.for_block(block)
        known = accessor.get_metadata(block_exec_stats=block_exec_stats, task_exec_stats=task_exec_stats)
        return BlockMetadataWithSchema.from_metadata(known, accessor.schema())


def to_stats(metas: list[BlockMetadata]) -> list[BlockStats]:
    """The parts without files."""
    return [meta.to_stats() for meta in metas]


class BlockType(enum.Enum):
    """What a block may be; here all are Arrow tables."""

    ARROW = "arrow"
    PANDAS = "pandas"


class BatchFormat(str, enum.Enum):
    """What functions may be given for batches."""

    ARROW = "arrow"
    PANDAS = "pandas"
    NUMPY = "numpy"


class BlockAccessor:
    """The one face of blocks: tables, frames and dicts of arrays."""

    def __init__(self, table: pa.Table):
        self._table = table

    @staticmethod
    def for_block(block: Any) -> BlockAccessor:
        """The accessor of a block or batch of any form."""
        return BlockAccessor(blk.from_batch(block))

    @staticmethod
    def batch_to_arrow_block(batch: Any) -> Block:
        """The block of a batch."""
        return blk.from_batch(batch)

    @staticmethod
    def batch_to_pandas_block(batch: Any) -> Any:
        """The DataFrame of a batch."""
        return blk.to_pandas(blk.from_batch(batch))

    @staticmethod
    def builder() -> BlockBuilder:
        """Something that puts rows and blocks together."""
        return BlockBuilder()

    @staticmethod
    def merge_sorted_blocks(blocks: list[Block], sort_key: Any) -> tuple[Block, BlockMetadata]:
        """One block of several that are in order, in order, and what is known of it."""
        whole = merged(blocks, sort_key)
        return whole, BlockAccessor(whole).get_metadata()

    @staticmethod
    def batch_to_block(batch: Any, block_type: BlockType | None = None) -> Block:
        """The block of a batch."""
        return blk.from_batch(batch)

    def num_rows(self) -> int:
        """Number of rows."""
        return self._table.num_rows

    def size_bytes(self) -> int:
        """Bytes in memory."""
        return self._table.nbytes

    def schema(self) -> pa.Schema:
        """Arrow schema."""
        return self._table.schema

    def column_names(self) -> list[str]:
        """Names of columns."""
        return self._table.column_names

    def block_type(self) -> BlockType:
        """What it is."""
        return BlockType.ARROW

    def to_block(self) -> Block:
        """The block."""
        return self._table

    def to_arrow(self) -> pa.Table:
        """As Arrow table."""
        return self._table

    def to_pandas(self) -> Any:
        """As DataFrame."""
        return blk.to_pandas(self._table)

    def to_numpy(self, columns: str | list[str] | None = None) -> Any:
        """As array (one name), or as dict of arrays (by default of all columns)."""
        if isinstance(columns, str):
            return blk.to_batch(self._table.select([columns]), "numpy")[columns]
        return blk.to_batch(self._table if columns is None else self._table.select(columns), "numpy")

    def to_default(self) -> dict[str, np.ndarray]:
        """As dict of arrays."""
        return self.to_numpy()

    def to_batch_format(self, batch_format: str | None) -> Any:
        """In a batch format."""
        return blk.to_batch(self._table, batch_format)

    def iter_rows(self, public_row_format: bool = True) -> Iterator[dict[str, Any]]:
        """Its rows as dicts."""
        return blk.iter_rows(self._table)

    def slice(self, start: int, end: int, copy: bool = False) -> Block:
        """Rows from `start` to before `end`; `copy` lets go of the others' memory."""
        part = self._table.slice(start, end - start)
        return blk.compact(part) if copy else part

    def take(self, indices: list[int]) -> Block:
        """Rows by number."""
        return blk.take(self._table, np.asarray(indices))

    def select(self, columns: list[str]) -> Block:
        """Some columns."""
        return self._table.select(columns)

    def rename_columns(self, columns_rename: dict[str, str]) -> Block:
        """Other names, by the old ones."""
        return self._table.rename_columns([columns_rename.get(n, n) for n in self._table.column_names])

    def drop(self, columns: list[str]) -> Block:
        """The block without some columns."""
        return self._table.drop_columns(columns)

    def upsert_column(self, column_name: str, column_data: Any) -> Block:
        """The block with a column, in its place when there is one of that name, else last."""
        return upsert(self._table, column_name, columns.to_arrow(column_data))

    def zip(self, other: Block) -> Block:
        """The columns of this and of another block of as many rows; names that are there already get a number."""
        return zipped(self._table, blk.from_batch(other))

    def sample(self, n_samples: int, sort_key: Any) -> Block:
        """The keys of so many rows by chance."""
        picks = np.random.default_rng().integers(0, max(1, self.num_rows()), min(n_samples, self.num_rows()))
        return blk.take(self._table.select(sort_keys(sort_key)[0]), picks)

    def sort(self, sort_key: Any) -> Block:
        """The rows in order of a column, or of several; see `column_accessor.sort_keys`."""
        return merged([self._table], sort_key)

    def sort_and_partition(self, boundaries: list[Any], sort_key: Any) -> list[Block]:
        """The rows in order, cut before each of some keys."""
        keys, descending = sort_keys(sort_key)
        ordered = grouping.sort(self._table, keys, descending)
        rows = [b if isinstance(b, (tuple, list)) else (b,) for b in boundaries]
        bounds = blk.from_rows([dict(zip(keys, row, strict=True)) for row in rows])
        if not rows:
            return [ordered]
        return grouping.split_by_id(
            ordered, grouping.partition_of(ordered, bounds, keys, descending), len(rows) + 1
        )

    def _of(self, on: str) -> BlockColumnAccessor:
        return BlockColumnAccessor(self._table.column(on))

    def count(self, on: str, ignore_nulls: bool = False) -> int:
        """Number of values of a column."""
        return self._of(on).count(ignore_nulls=ignore_nulls)

    def sum(self, on: str, ignore_nulls: bool) -> Any:
        """Sum of a column."""
        return self._of(on).sum(ignore_nulls=ignore_nulls)

    def min(self, on: str, ignore_nulls: bool) -> Any:
        """Least value of a column."""
        return self._of(on).min(ignore_nulls=ignore_nulls)

    def max(self, on: str, ignore_nulls: bool) -> Any:
        """Greatest value of a column."""
        return self._of(on).max(ignore_nulls=ignore_nulls)

    def mean(self, on: str, ignore_nulls: bool) -> Any:
        """Mean of a column."""
        return self._of(on).mean(ignore_nulls=ignore_nulls)

    def sum_of_squared_diffs_from_mean(self, on: str, ignore_nulls: bool, mean: float | None = None) -> Any:
        """Sum of squared distances of a column from a mean."""
        return self._of(on).sum_of_squared_diffs_from_mean(ignore_nulls=ignore_nulls, mean=mean)

    def random_shuffle(self, random_seed: int | None) -> Block:
        """The rows in random order."""
        return blk.take(self._table, np.random.default_rng(random_seed).permutation(self.num_rows()))

    def get_metadata(
        self, input_files: list[str] | None = None, block_exec_stats: Any = None, task_exec_stats: Any = None
    ) -> BlockMetadata:
        """What is known of it."""
        files = tuple(input_files or ())
        return BlockMetadata(
            self.num_rows(), self.size_bytes(), block_exec_stats, task_exec_stats, input_files=files
        )


class BlockBuilder:
    """Rows and blocks, put together."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._rows: list[Any] = []

    def add(self, item: Any) -> None:
        """A row more."""
        self._rows.append(item)

    def add_block(self, block: Any) -> None:
        """A block more."""
        self._close()
        self._blocks.append(blk.from_batch(block))

    def num_rows(self) -> int:
        """Rows so far."""
        return sum(b.num_rows for b in self._blocks) + len(self._rows)

    def build(self) -> Block:
        """All of it as one block."""
        self._close()
        return blk.concat(self._blocks) if self._blocks else pa.table({})

    def _close(self) -> None:
        if self._rows:
            self._blocks.append(blk.from_rows(self._rows))
            self._rows = []


class RefBundle:
    """A block in the object store and what is known of it, by Ray's names.

    Args:
        bundle: the engine's own.
    """

    owns_blocks = True

    def __init__(self, bundle: Bundle):
        self.schema = bundle.schema
        self.blocks = ((bundle.ref, BlockMetadata(bundle.rows, bundle.size_bytes)),)

    @property
    def block_refs(self) -> list[Any]:
        """References to its blocks."""
        return [ref for ref, _ in self.blocks]

    @property
    def metadata(self) -> list[BlockMetadata]:
        """What is known of each block."""
        return [metadata for _, metadata in self.blocks]

    def num_rows(self) -> int | None:
        """Rows of all its blocks."""
        return sum(metadata.num_rows or 0 for metadata in self.metadata)

    def size_bytes(self) -> int:
        """Bytes of all its blocks."""
        return sum(metadata.size_bytes or 0 for metadata in self.metadata)
