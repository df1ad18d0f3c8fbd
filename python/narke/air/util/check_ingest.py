"""A trainer that only reads its datasets, to see how fast that is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from narke.train.data_parallel_trainer import DataParallelTrainer

__all__ = ["DummyTrainer", "make_local_dataset_iterator"]


class DummyTrainer(DataParallelTrainer):
    """Reads the dataset "train" on all workers and reports how fast.

    Args:
        args, kwargs: see `DataParallelTrainer`.
        scaling_config: one worker if None.
        num_epochs: how often to read it.
        prefetch_batches: how many batches to fetch ahead.
        batch_size: rows.
        time_preprocessing_separately: has no use: datasets are run while they are read.
        prefetch_blocks: old name of `prefetch_batches`.
    """

    def __init__(
        self,
        *args: Any,
        scaling_config: Any = None,
        num_epochs: int = 1,
        prefetch_batches: int = 1,
        batch_size: int | None = 4096,
        time_preprocessing_separately: bool = False,
        prefetch_blocks: int = 0,
        **kwargs: Any,
    ) -> None:
        self.time_preprocessing_separately = time_preprocessing_separately
        loop = kwargs.pop("train_loop_per_worker", None) or self.make_train_loop(
            num_epochs, prefetch_batches, prefetch_blocks, batch_size
        )
        super().__init__(loop, *args, scaling_config=scaling_config or {"num_workers": 1}, **kwargs)

    @staticmethod
    def make_train_loop(
        num_epochs: int, prefetch_batches: int, prefetch_blocks: int, batch_size: int | None
    ) -> Callable[[], None]:
        """The function that reads.

        Args:
            num_epochs, prefetch_batches, prefetch_blocks, batch_size: see the class.
        """

        def loop() -> None:
            from narke.train import get_context, get_dataset_shard, report

            began, batches, rows, waited = time.perf_counter(), 0, 0, 0.0
            ahead = max(prefetch_batches, prefetch_blocks)
            for epoch in range(num_epochs):
                last = time.perf_counter()
                for batch in get_dataset_shard("train").iter_batches(
                    batch_size=batch_size, prefetch_batches=ahead
                ):  # type: ignore[union-attr]
                    waited += time.perf_counter() - last
                    batches += 1
                    rows += len(next(iter(batch.values())))
                    last = time.perf_counter()
                spent = time.perf_counter() - began
                report(
                    {
                        "epoch": epoch,
                        "rows": rows,
                        "batches": batches,
                        "rows_per_s": rows / spent,
                        "waited_s": waited,
                    }
                )
            if get_context().get_world_rank() == 0:
                print(
                    f"{rows} rows in {batches} batches in {time.perf_counter() - began:.2f} s, {waited:.2f} s waiting"
                )

        return loop


def make_local_dataset_iterator(dataset: Any, preprocessor: Any, dataset_config: Any) -> Any:
    """The dataset as a training function would get it with one worker, to try out here.

    Args:
        dataset: to read.
        preprocessor: fitted and applied; None for none.
        dataset_config: a `narke.air.DatasetConfig`.
    """
    if preprocessor is not None:
        dataset = preprocessor.fit_transform(dataset)
    if getattr(dataset_config, "global_shuffle", False):
        dataset = dataset.random_shuffle()
    return dataset.iterator()
