"""What training functions call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from narke.train import _session
from narke.train.context import get_context
from narke.train.v2.api.report_config import CheckpointConsistencyMode, CheckpointUploadMode

if TYPE_CHECKING:
    from narke.data.iterator import DataIterator
    from narke.train._checkpoint import Checkpoint
    from narke.train.v2.api.preemption import PreemptionInfo
    from narke.train.v2.api.reported_checkpoint import ReportedCheckpoint
    from narke.train.v2.api.validation_config import ValidationTaskConfig

__all__ = [
    "get_all_reported_checkpoints",
    "get_checkpoint",
    "get_context",
    "get_dataset_shard",
    "get_preemption_info",
    "report",
]


def report(
    metrics: dict[str, Any] | None = None,
    checkpoint: Checkpoint | None = None,
    checkpoint_dir_name: str | None = None,
    checkpoint_upload_mode: CheckpointUploadMode = CheckpointUploadMode.SYNC,
    delete_local_checkpoint_after_upload: bool | None = None,
    checkpoint_upload_fn: Callable[[Checkpoint, str], Checkpoint] | None = None,
    validation: bool | ValidationTaskConfig = False,
    **more: Any,
) -> None:
    """Report metrics, and possibly a checkpoint, of this worker.

    All workers report equally often; the n-th reports of all are one report of the run, with the metrics of rank 0
    and the files of all ranks' checkpoints in one folder. The call returns before the others have reported.

    Args:
        metrics: picklable values by name.
        checkpoint: files of this rank.
        checkpoint_dir_name: its folder's name in the run's folder; equal on all ranks; made up if None.
        checkpoint_upload_mode: SYNC stores the files before the call returns, ASYNC in a thread, NO_UPLOAD leaves
            them where they are.
        delete_local_checkpoint_after_upload: whether the given folder goes once it is stored; by default with ASYNC.
        checkpoint_upload_fn: stores the files itself: (checkpoint, folder name) -> the stored checkpoint.
        validation: validate the checkpoint by the trainer's `ValidationConfig`.
        more: metrics as keywords, as older programs have them.

    Raises:
        RuntimeError: no trainer or tuner runs this function, or a checkpoint of an earlier call could not be stored.
        TypeError: `metrics` is no dictionary.
        OSError: the checkpoint cannot be stored.
    """
    given = {} if metrics is None else metrics
    if not isinstance(given, dict):
        raise TypeError(f"report() takes a dict of metrics, not {type(given).__name__}")
    _session.require("report()").report(
        {**given, **more} if more else given,
        checkpoint=checkpoint,
        checkpoint_dir_name=checkpoint_dir_name,
        checkpoint_upload_mode=checkpoint_upload_mode,
        delete_local_checkpoint_after_upload=delete_local_checkpoint_after_upload,
        checkpoint_upload_fn=checkpoint_upload_fn,
        validation=validation,
    )


def get_checkpoint() -> Checkpoint | None:
    """The run's last complete checkpoint: after a failure, or as given to the trainer; None if there is none."""
    session = _session.current()
    return session.get_checkpoint() if session is not None else None


def get_dataset_shard(dataset_name: str | None = None) -> DataIterator | None:
    """This worker's part of a dataset that was given to the trainer.

    Args:
        dataset_name: its name; None if there is one dataset, or for "train".

    Raises:
        KeyError: the trainer has no such dataset; the text names those it has.
        RuntimeError: no trainer runs this function.
    """
    return _session.require("get_dataset_shard()").get_dataset_shard(dataset_name)


def get_all_reported_checkpoints(
    consistency_mode: CheckpointConsistencyMode = CheckpointConsistencyMode.VALIDATED,
    timeout_s: float | None = None,
) -> list[ReportedCheckpoint]:
    """The checkpoints that were reported so far and are kept, oldest first.

    Args:
        consistency_mode: COMMITTED waits until what this worker reported is stored, VALIDATED also for validations.
        timeout_s: seconds to wait at most.

    Raises:
        TimeoutError: they are not there in time.
        RuntimeError: no trainer runs this function.
    """
    session: Any = _session.require("get_all_reported_checkpoints()")
    return session.get_all_reported_checkpoints(consistency_mode, timeout_s)


def get_preemption_info() -> PreemptionInfo | None:
    """Which of the run's nodes are about to be taken away; None if none is known to be.

    Raises:
        RuntimeError: no trainer runs this function.
    """
    session: Any = _session.require("get_preemption_info()")
    return session.get_preemption_info()
