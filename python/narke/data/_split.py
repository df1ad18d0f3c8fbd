"""Splitting datasets: into several, for several consumers, for training and testing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narke.data.plan import Blocks, Bundle, Gather, Node
from narke.data.split_plan import CutAt

if TYPE_CHECKING:
    from narke.data.dataset import MaterializedDataset
    from narke.data.iterator import DataIterator


class Splitting:
    """The part of `Dataset` that makes several of one."""

    _plan: Node

    def _of_blocks(self, bundles: list[Bundle]) -> MaterializedDataset:
        from narke.data.dataset import MaterializedDataset

        return MaterializedDataset(Blocks((), tuple(bundles)), self._context.copy())  # type: ignore[attr-defined]

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
        """Run it, and give each its share of the rows; the last, which is not named, gets the rest."""
        if not proportions or any(p <= 0 for p in proportions) or sum(proportions) >= 1:
            raise ValueError(
                f"split_proportionately: shares must be positive with a sum below 1, not {proportions}"
            )
        whole = self.materialize()  # type: ignore[attr-defined]
        rows = whole.count()
        edges, total = [], 0.0
        for share in proportions:
            total += share
            edges.append(int(round(rows * total, 6)))
        return whole.split_at_indices(edges)

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
        """
        if stratify is not None:
            raise NotImplementedError("stratify is not built; leave it out")
        mixed: Any = self.random_shuffle(seed=seed) if shuffle else self  # type: ignore[attr-defined]
        whole = mixed.materialize()
        rows = whole.count()
        test = int(rows * test_size) if isinstance(test_size, float) else test_size
        if isinstance(test_size, float) and not 0 < test_size < 1 or not 0 <= test <= rows:
            raise ValueError(
                f"test_size must be a share between 0 and 1 or a number of rows up to {rows}, not {test_size}"
            )
        train, held_out = whole.split_at_indices([rows - test])
        return train, held_out

    def streaming_split(
        self, n: int, *, equal: bool = False, locality_hints: list[Any] | None = None
    ) -> list[DataIterator]:
        """Iterators that share out one run of it among n consumers, each round anew once all have begun it.

        Args:
            equal: they get equally many rows; up to n - 1 rows are left out. locality_hints: see `split`.
        """
        from narke.data.streaming_split import split_iterators

        if n < 1:
            raise ValueError(f"streaming_split: n must be 1 or more, not {n}")
        return list(split_iterators(self, n, equal))  # type: ignore[arg-type]


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
