"""Stands for `ray.data._internal.delegating_block_builder`, by which readers of users' own files make blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from narke.data import blocks as blk
from narke.data.blocks import Block

__all__ = ["DelegatingBlockBuilder"]


class DelegatingBlockBuilder:
    """Collects rows and blocks, and makes one block of them."""

    def __init__(self) -> None:
        self._rows: list[Mapping[str, Any]] = []
        self._blocks: list[Block] = []

    def add(self, item: Mapping[str, Any]) -> None:
        """Add a row."""
        if not isinstance(item, Mapping):
            raise TypeError(f"a row is a dict from column names to values, not {item!r:.100}")
        self._rows.append(item)

    def add_batch(self, batch: Any) -> None:
        """Add a batch: a dict of arrays, a DataFrame or an Arrow table."""
        self.add_block(batch)

    def add_block(self, block: Any) -> None:
        """Add a block."""
        self._close()
        self._blocks.append(blk.from_batch(block))

    def num_rows(self) -> int:
        """Rows so far."""
        return len(self._rows) + sum(block.num_rows for block in self._blocks)

    def will_build_yield_copy(self) -> bool:
        """Whether `build` copies; one block alone is given as it is."""
        return bool(self._rows) or len(self._blocks) > 1

    def get_estimated_memory_usage(self) -> int:
        """Bytes so far, about."""
        self._close()
        return sum(block.nbytes for block in self._blocks)

    def build(self) -> Block:
        """All that was added, in order, as one block."""
        self._close()
        return blk.concat(self._blocks) if self._blocks else blk.from_rows([])

    def _close(self) -> None:
        if self._rows:
            self._blocks.append(blk.from_rows(self._rows))
            self._rows = []
