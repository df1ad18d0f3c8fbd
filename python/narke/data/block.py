"""Ray's names for what data sources say of their blocks."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from narke.data import blocks as blk
from narke.data import columns

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

    def to_numpy(self, columns_: str | list[str] | None = None) -> Any:
        """As array (one name), or as dict of arrays (by default of all columns)."""
        if isinstance(columns_, str):
            return columns.to_numpy(self._table.column(columns_))
        chosen = self._table if columns_ is None else self._table.select(columns_)
        return blk.to_batch(chosen, "numpy")

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

    def select(self, columns_: list[str]) -> Block:
        """Some columns."""
        return self._table.select(columns_)

    def rename_columns(self, columns_rename: dict[str, str]) -> Block:
        """Other names, by the old ones."""
        return self._table.rename_columns([columns_rename.get(n, n) for n in self._table.column_names])

    def drop(self, columns_: list[str]) -> Block:
        """The block without some columns."""
        return self._table.drop_columns(columns_)

    def random_shuffle(self, random_seed: int | None) -> Block:
        """The rows in random order."""
        return blk.take(self._table, np.random.default_rng(random_seed).permutation(self.num_rows()))

    def get_metadata(self, input_files: list[str] | None = None, exec_stats: Any = None) -> BlockMetadata:
        """What is known of it."""
        files = tuple(input_files or ())
        return BlockMetadata(self.num_rows(), self.size_bytes(), exec_stats, input_files=files)
