"""What training functions with a transformers.Trainer call."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, IterableDataset
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from narke.train._checkpoint import Checkpoint
from narke.train.collective import barrier
from narke.train.context import get_context
from narke.train.v2.api.train_fn_utils import report

__all__ = ["Batches", "RayTrainReportCallback", "Rows", "prepare_trainer"]


class RayTrainReportCallback(TrainerCallback):
    """Reports the last logged metrics and the checkpoint each time the Trainer has saved one.

    The checkpoint's files lie in its folder ``checkpoint``. The ranks of a node save into one folder, which the first
    of them reports once all have saved.
    """

    CHECKPOINT_NAME = "checkpoint"

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The Trainer has saved a checkpoint."""
        metrics: dict[str, Any] = {}
        for logged in state.log_history:
            metrics.update(logged)
        barrier()
        saved = get_last_checkpoint(args.output_dir) if get_context().get_local_rank() == 0 else None
        if saved is None:
            report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(saved, Path(folder, self.CHECKPOINT_NAME))
            report(metrics, checkpoint=Checkpoint.from_directory(folder))


class Batches(IterableDataset):
    """Batches that are made already, for a loader that makes none.

    Args:
        batches: can be iterated over again for each epoch.
    """

    def __init__(self, batches: Iterable) -> None:
        super().__init__()
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)


class Rows(IterableDataset):
    """The rows of a dataset shard; each rank reads its own.

    Args:
        shard: a DataIterator.
    """

    def __init__(self, shard: Any) -> None:
        super().__init__()
        self._shard = shard

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._shard.iter_rows()


def prepare_trainer(trainer: Trainer) -> Trainer:
    """Let a Trainer take batches of dataset shards as its datasets.

    Args:
        trainer: whose train_dataset or eval_dataset may be what ``iter_torch_batches`` of a shard gives.

    Returns:
        the same trainer.
    """
    kind = type(trainer)

    class Prepared(kind):  # type: ignore[misc, valid-type]
        def get_train_dataloader(self) -> DataLoader:
            if _is_batches(self.train_dataset):
                return DataLoader(Batches(self.train_dataset), batch_size=None, collate_fn=_same)
            if isinstance(self.train_dataset, Rows):
                # not Accelerate's loader: that would read on rank 0 alone
                return DataLoader(
                    self.train_dataset, self.args.train_batch_size, collate_fn=self.data_collator
                )
            return super().get_train_dataloader()

        def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
            data = self.eval_dataset if eval_dataset is None else eval_dataset
            if _is_batches(data):
                return DataLoader(Batches(data), batch_size=None, collate_fn=_same)
            if isinstance(data, Rows):
                return DataLoader(data, self.args.eval_batch_size, collate_fn=self.data_collator)
            return super().get_eval_dataloader(eval_dataset)

    Prepared.__name__ = kind.__name__
    trainer.__class__ = Prepared
    return trainer


def _is_batches(data: Any) -> bool:
    return type(data).__module__.startswith("narke.data")


def _same(batch: Any) -> Any:
    return batch
