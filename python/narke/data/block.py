"""Ray's names for what data sources say of their blocks."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

import pyarrow as pa

Block: TypeAlias = pa.Table
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
