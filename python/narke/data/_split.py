"""Splitting datasets: into several, for several consumers, for training and testing."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from narke.data import grouping
from narke.data._arguments import remote_arguments
from narke.data.expressions import col
from narke.data.frames import has_frames
from narke.data.plan import Blocks, Bundle, Gather, Map, Node
from narke.data.split_plan import CutAt, share_edges
from narke.data.transforms import Step

if TYPE_CHECKING:
    from narke.data.dataset import Dataset, MaterializedDataset
    from narke.data.iterator import DataIterator


class Splitting:
    """The part of `Dataset` that makes several of one."""

    _plan: Node

    def _of_blocks(self, bundles: list[Bundle]) -> MaterializedDataset:
        from narke.data.dataset import MaterializedDataset

        blocks = Blocks((), tuple(bundles), has_frames(self._plan))  # type: ignore[attr-defined]
        return MaterializedDataset(blocks, self._context.copy())  # type: ignore[attr-defined]

    def split(
        self, n: int, *, equal: bool = False, locality_hints: list[Any] | None = None
    ) -> list[MaterializedDataset]:
        """Run it, and share its blocks out.

        Args:
            n: number of datasets. equal: they have equally many rows; up to n - 1 rows are left out.
            locality_hints: an actor for each; accepted, and of no consequence on one machine.
        """
        if n < 1:
            raise ValueError(f"split: n must be 1 or more, not {n}")
        if locality_hints is not None and len(locality_hints) != n:
            raise ValueError(f"split: {len(locality_hints)} locality hints for {n} datasets")
        whole = self.materialize()  # type: ignore[attr-defined]
        if equal:
            each = whole.count() // n
            return whole.split_at_indices([each * i for i in range(1, n + 1)])[:n]
        bundles = list(whole._bundles())
        if len(bundles) < n:  # else some would get nothing
            rows = whole.count()
            return whole.split_at_indices([-(-rows * i // n) for i in range(1, n)]) if n > 1 else [whole]
        edges = [len(bundles) * i // n for i in range(n + 1)]
        return [self._of_blocks(bundles[a:b]) for a, b in zip(edges[:-1], edges[1:], strict=True)]

    def split_at_indices(self, indices: list[int]) -> list[MaterializedDataset]:
        """Run it, and cut it before each of these rows; gives one dataset more than there are indices."""
        if not indices or sorted(indices) != list(indices) or indices[0] < 0:
            raise ValueError(f"split_at_indices: indices must be positive and ascending, not {indices}")
        whole = self.materialize()  # type: ignore[attr-defined]
        cut = whole._derived(Gather((whole._plan,), CutAt(list(indices)))).materialize()
        return _in_parts(whole, list(cut._bundles()), list(indices))

    def split_proportionately(self, proportions: list[float]) -> list[MaterializedDataset]:
        """Run it, and give each its share of the rows; the last, which is not named, gets the rest.

        Raises:
            ValueError: shares are not positive with a sum below 1, or there are too few rows for each to have one.
        """
        whole = self.materialize()  # type: ignore[attr-defined]
        return whole.split_at_indices(share_edges(whole.count(), proportions))

    def train_test_split(
        self,
        test_size: int | float,
        *,
        shuffle: bool = False,
        seed: int | None = None,
        stratify: str | None = None,
    ) -> tuple[MaterializedDataset, MaterializedDataset]:
        """Run it, and give (training, test) datasets.

        Args:
            test_size: share, or number of rows, of the test; it is the end of the dataset.
            shuffle: put the rows in random order first. seed: fixes that order.
            stratify: column of which each value has the same share (`test_size`) in the test.
        """
        if stratify is not None:
            return self._stratified(test_size, shuffle, stratify)
        mixed: Any = self.random_shuffle(seed=seed) if shuffle else self  # type: ignore[attr-defined]
        whole = mixed.materialize()
        rows = whole.count()
        if isinstance(test_size, float) and not 0 < test_size < 1 or not 0 <= test_size <= rows:
            raise ValueError(
                f"test_size must be a share between 0 and 1 or a number of rows up to {rows}, not {test_size}"
            )
        edges = share_edges(rows, [1 - test_size]) if isinstance(test_size, float) else [rows - test_size]
        train, held_out = whole.split_at_indices(edges)
        return train, held_out

    def _stratified(
        self, test_size: int | float, shuffle: bool, column: str
    ) -> tuple[MaterializedDataset, MaterializedDataset]:
        """The end of each group of equal values in the test."""
        if shuffle:
            raise ValueError(
                "Cannot specify both 'shuffle=True' and 'stratify': shuffle the rows before, if need be"
            )
        whole: Any = self.materialize()  # type: ignore[attr-defined]
        share = test_size if isinstance(test_size, float) else test_size / max(1, whole.count())
        if not 0 < share < 1:
            raise ValueError(
                f"test_size must be a share between 0 and 1, or some of the rows, not {test_size}"
            )

        def mark(group: Any) -> Any:
            rows = group.num_rows
            tests = int(rows * share)
            return group.append_column(IN_TEST, pa.array([i >= rows - tests for i in range(rows)]))

        marked = whole.groupby(column).map_groups(mark, batch_format="pyarrow").materialize()
        train, test = (marked.filter(expr=e).drop_columns([IN_TEST]) for e in (~col(IN_TEST), col(IN_TEST)))
        return train.materialize(), test.materialize()

    def streaming_train_test_split(
        self,
        test_size: float,
        *,
        split_type: str = "random",
        hash_column: str | None = None,
        seed: int | None = None,
        **ray_remote_kwargs: Any,
    ) -> tuple[Dataset, Dataset]:
        """(training, test) datasets that are not run for it: each row goes to the test by chance, or by a hash.

        Args:
            test_size: share of the test. split_type: "random", or "hash" of `hash_column`, by which a row always goes
                the same way. seed: fixes the chance. ray_remote_kwargs: resources of the tasks.
        """
        if not 0 < test_size < 1:
            raise ValueError(f"test_size must be a share between 0 and 1, not {test_size}")
        if split_type not in ("random", "hash") or (split_type == "hash") != (hash_column is not None):
            raise ValueError("streaming_train_test_split: split_type is 'random', or 'hash' with hash_column")
        if split_type == "hash" and seed is not None:
            raise ValueError(
                "streaming_train_test_split: seed is not supported for hash split, which draws nothing"
            )
        key = secrets.randbits(32) if seed is None else seed
        made = []
        for test in (False, True):
            step = Step("stream", _Part(test_size, hash_column, key, test))
            made.append(
                self._derived(Map((self._plan,), (step,), remote_args=remote_arguments(ray_remote_kwargs)))  # type: ignore[attr-defined]
            )
        return made[0], made[1]

    def streaming_split(
        self, n: int, *, equal: bool = False, locality_hints: list[Any] | None = None
    ) -> list[DataIterator]:
        """Iterators that share out one run of it among n consumers, each round anew.

        A round begins when all consumers have come; with equal shares, those after the first with whoever comes first.

        Args:
            equal: they get equally many rows; up to n - 1 rows are left out. locality_hints: see `split`.
        """
        from narke.data.streaming_split import split_iterators

        if n < 1:
            raise ValueError(f"streaming_split: n must be 1 or more, not {n}")
        return list(split_iterators(self, n, equal))  # type: ignore[arg-type]


IN_TEST = "__in_test__"


class _Part:
    """A step that keeps the rows of the test, or the others."""

    __name__ = "Split"

    def __init__(self, share: float, column: str | None, seed: int, test: bool):
        self._share, self._column, self._seed, self._test = share, column, seed, test

    def __call__(self, index: int, blocks: Iterable[pa.Table]) -> Iterator[pa.Table]:
        rng = np.random.default_rng([abs(self._seed), index])
        for block in blocks:
            if self._column is None:
                chance = rng.random(block.num_rows)
            else:
                chance = grouping.hash_rows(block, [self._column]) / 2.0**64
            yield block.filter(pa.array((chance < self._share) == self._test))


def _in_parts(whole: Any, bundles: list[Bundle], indices: list[int]) -> list[MaterializedDataset]:
    """Bundles, none of which crosses an index, as a dataset for each part."""
    parts: list[list[Bundle]] = [[] for _ in range(len(indices) + 1)]
    row = place = 0
    for bundle in bundles:
        if not bundle.rows:
            continue
        while place < len(indices) and row >= indices[place]:
            place += 1
        parts[place].append(bundle)
        row += bundle.rows
    return [whole._of_blocks(part) for part in parts]
