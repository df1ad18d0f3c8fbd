"""The session of a training worker: reports and checkpoints on their way to the controller."""

from __future__ import annotations

import os
import pickle
import queue
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from narke.train import _storage
from narke.train._checkpoint import Checkpoint
from narke.train._placing import Place
from narke.train.v2.api.report_config import CheckpointConsistencyMode, CheckpointUploadMode
from narke.train.v2.api.reported_checkpoint import ReportedCheckpoint

__all__ = ["RunAborted", "WorkerSession", "WorkerSpec"]

STAGING = ".staging"  # folder in the run's folder for checkpoints that are not complete
_LOOK_S = 1.0  # how often a waiting call looks whether the run was aborted


class RunAborted(BaseException):
    """The controller has ended this attempt; not for training functions to catch."""


@dataclass
class WorkerSpec:
    """What a worker is told when an attempt begins.

    Args:
        rank, world_size, place: of this worker.
        storage: of the run; its trial_fs_path holds the checkpoints.
        experiment, trial_name, trial_id, trial_resources: names and resources of the run.
        first: index of the attempt's first report.
        names: gives the folder name of a checkpoint by (report's index, checkpoints before it in this attempt).
        window: how many reports may be under way without an answer; 0 makes each wait for its own.
        checkpoint: the one to begin from.
        shards: parts of the datasets by name.
        metadata: of the trainer.
        encode: called with metrics before they are sent.
        reported: the run's complete checkpoints.
    """

    rank: int
    world_size: int
    place: Place
    storage: _storage.StorageContext
    experiment: str
    trial_name: str
    trial_id: str
    trial_resources: Any
    first: int
    names: Callable[[int, int], str]
    window: int
    checkpoint: Checkpoint | None
    shards: dict[str, Any]
    metadata: dict[str, Any] | None
    encode: Callable[[dict[str, Any]], Any]
    reported: list[ReportedCheckpoint] = field(default_factory=list)


class WorkerSession:
    """See `narke.train._session.Session`.

    Events for the controller go into `events`, whose length the window bounds; the worker's stream sends them on.

    Args:
        spec: of this worker.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self.events: queue.SimpleQueue[tuple] = queue.SimpleQueue()
        self._index = spec.first
        self._checkpoints = 0
        self._acknowledged = spec.first - 1
        self._last = spec.checkpoint
        self._waiting_for: int | None = None  # report whose checkpoint is not known to be complete
        self._collected: dict[int, Any] = {}
        self._collectives = 0
        self._aborted = False
        self._news = threading.Condition()
        self._uploader: ThreadPoolExecutor | None = None
        self._uploads: list[Future] = []

    # ---- what training functions call

    def report(
        self,
        metrics: dict[str, Any],
        *,
        checkpoint: Checkpoint | None = None,
        checkpoint_dir_name: str | None = None,
        checkpoint_upload_mode: Any = CheckpointUploadMode.SYNC,
        delete_local_checkpoint_after_upload: bool | None = None,
        checkpoint_upload_fn: Callable[[Checkpoint, str], Checkpoint] | None = None,
        validation: Any = False,
    ) -> None:
        """See `narke.train.report`."""
        payload = _dumped(self.spec.encode(metrics))
        mode = CheckpointUploadMode(checkpoint_upload_mode)
        self._raise_failed_uploads()
        index = self._index
        self._wait(lambda: index - self._acknowledged <= max(self.spec.window, 1), "a report's turn")
        self._index += 1
        if checkpoint is None:
            self.events.put(("report", index, payload, None, True, None, validation))
        else:
            remove = delete_local_checkpoint_after_upload
            if remove is None:
                remove = mode._default_delete_local_checkpoint_after_upload()
            name = checkpoint_dir_name or self.spec.names(index, self._checkpoints)
            self._checkpoints += 1
            self._hand_over(index, payload, checkpoint, name, mode, remove, checkpoint_upload_fn, validation)
        if self.spec.window == 0:
            self._wait(lambda: self._acknowledged >= index, "the answer to a report")

    def _hand_over(
        self,
        index: int,
        payload: bytes,
        checkpoint: Checkpoint,
        name: str,
        mode: CheckpointUploadMode,
        remove: bool,
        upload_fn: Callable[[Checkpoint, str], Checkpoint] | None,
        validation: Any,
    ) -> None:
        self._waiting_for = index
        where: tuple[Any, str] | None
        if mode is CheckpointUploadMode.NO_UPLOAD:
            where = _location(checkpoint)
            self.events.put(("report", index, payload, name, True, where, validation))
        elif mode is CheckpointUploadMode.SYNC:
            where = self._upload(checkpoint, name, remove, upload_fn)
            self.events.put(("report", index, payload, name, True, where, validation))
        else:
            self.events.put(("report", index, payload, name, False, None, validation))
            pool = self._uploader = self._uploader or ThreadPoolExecutor(
                1, thread_name_prefix="checkpoint-upload"
            )
            self._uploads.append(pool.submit(self._upload_later, index, checkpoint, name, remove, upload_fn))

    def _upload_later(self, index: int, *upload: Any) -> None:
        self.events.put(("stored", index, self._upload(*upload)))

    def _upload(
        self, checkpoint: Checkpoint, name: str, remove: bool, upload_fn: Callable | None
    ) -> tuple[Any, str] | None:
        """Store a checkpoint's files; where they are if not in the run's folder."""
        if upload_fn is not None:
            return _location(upload_fn(checkpoint, name))
        storage = self.spec.storage
        target = f"{storage.trial_fs_path}/{name}"
        if _storage.is_local(storage.storage_filesystem):
            target = f"{storage.trial_fs_path}/{STAGING}/{name}"
        if checkpoint.path in (target, f"{storage.trial_fs_path}/{name}"):
            return _location(checkpoint)  # it was written to its place
        _put_folder(checkpoint, storage.storage_filesystem, target, remove)
        return None

    def get_checkpoint(self) -> Checkpoint | None:
        """The run's last checkpoint: the one this worker reported last, once it is complete."""
        waited = self._waiting_for
        if waited is not None:
            self._finish_uploads()
            self._wait(lambda: self._acknowledged >= waited, "the completion of a reported checkpoint")
            self._waiting_for = None
        return self._last

    def get_dataset_shard(self, name: str | None = None) -> Any:
        """This worker's part of a dataset; see `narke.train.get_dataset_shard`."""
        shards = self.spec.shards
        if name is None and len(shards) == 1:
            return next(iter(shards.values()))
        if (name or "train") not in shards:
            raise KeyError(f"the trainer has no dataset {name or 'train'!r}; datasets= has {sorted(shards)}")
        return shards[name or "train"]

    def get_context(self) -> Any:
        """See `narke.train.get_context`."""
        from narke.train.context import WorkerContext

        return WorkerContext(self.spec)

    def get_all_reported_checkpoints(
        self, consistency_mode: Any, timeout_s: float | None
    ) -> list[ReportedCheckpoint]:
        """See `narke.train.get_all_reported_checkpoints`."""
        self._finish_uploads()
        last = self._index - 1
        self._wait(lambda: self._acknowledged >= last, "reported checkpoints", timeout_s)
        if CheckpointConsistencyMode(consistency_mode) is CheckpointConsistencyMode.VALIDATED:
            self._wait(
                lambda: not any(_is_pending(each) for each in self.spec.reported), "validations", timeout_s
            )
        return list(self.spec.reported)

    def get_preemption_info(self) -> Any:
        """See `narke.train.get_preemption_info`."""
        return None

    def exchange(self, kind: str, value: Any) -> Any:
        """A collective call of all ranks over the controller.

        Args:
            kind: "barrier" or "broadcast".
            value: rank 0's is given to all by "broadcast".

        Returns:
            rank 0's value.
        """
        number = self._collectives
        self._collectives += 1
        self.events.put((kind, number, _dumped(value) if self.spec.rank == 0 else b""))
        self._wait(lambda: number in self._collected, f"the other ranks' {kind}")
        return pickle.loads(self._collected.pop(number))

    def finish(self) -> None:
        """Wait until all files are stored; raises what went wrong with one of them."""
        self._finish_uploads()
        self._raise_failed_uploads()

    # ---- what the controller's calls say

    def acknowledge(
        self, index: int, last: Checkpoint | None, reported: list[ReportedCheckpoint] | None
    ) -> None:
        """All reports up to one are complete.

        Args:
            index: of that report.
            last: the run's last complete checkpoint.
            reported: all its complete checkpoints; None if they did not change.
        """
        with self._news:
            self._acknowledged = max(self._acknowledged, index)
            if last is not None:
                self._last = last
            if reported is not None:
                self.spec.reported = reported
            self._news.notify_all()

    def collected(self, number: int, value: bytes) -> None:
        """A collective call is complete."""
        with self._news:
            self._collected[number] = value
            self._news.notify_all()

    def abort(self) -> None:
        """End waiting calls: the attempt is over."""
        with self._news:
            self._aborted = True
            self._news.notify_all()

    def _wait(self, ready: Callable[[], bool], what: str, timeout_s: float | None = None) -> None:
        left = timeout_s
        with self._news:
            while not ready():
                if self._aborted:
                    raise RunAborted(f"the run was ended while rank {self.spec.rank} waited for {what}")
                if left is not None and left <= 0:
                    raise TimeoutError(f"rank {self.spec.rank} waited {timeout_s} s for {what}")
                self._news.wait(_LOOK_S if left is None else min(left, _LOOK_S))
                left = None if left is None else left - _LOOK_S

    def _finish_uploads(self) -> None:
        for each in self._uploads:
            each.exception()

    def _raise_failed_uploads(self) -> None:
        waiting = []
        for each in self._uploads:
            if not each.done():
                waiting.append(each)
            elif each.exception() is not None:
                raise RuntimeError("a checkpoint could not be stored") from each.exception()
        self._uploads = waiting


def _dumped(value: Any) -> bytes:
    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:
        from narke import cloudpickle  # values of classes that the controller cannot import

        return cloudpickle.dumps(value)


def _location(checkpoint: Checkpoint) -> tuple[Any, str]:
    return (checkpoint.filesystem, checkpoint.path)


def _is_pending(reported: ReportedCheckpoint) -> bool:
    return reported.status.name == "PENDING_VALIDATION"


def _put_folder(checkpoint: Checkpoint, filesystem: Any, target: str, remove: bool) -> None:
    """Copy or, if it may go, move a folder; nothing of it stays behind when the disk is full."""
    local = _storage.is_local(filesystem) and _storage.is_local(checkpoint.filesystem)
    try:
        _storage.make_folder(filesystem, target)
        if not (remove and local and _moved(checkpoint.path, target)):
            _storage.copy_folder(checkpoint.filesystem, checkpoint.path, filesystem, target)
    except OSError as error:
        _storage.delete(filesystem, target)
        raise OSError(
            error.errno, f"the checkpoint {checkpoint.path!r} could not be stored in {target!r}: {error}"
        ) from error
    if remove and _storage.is_local(checkpoint.filesystem):
        shutil.rmtree(checkpoint.path, ignore_errors=True)


def _moved(source: str, target: str) -> bool:
    """Move the entries of a folder if that is only renaming."""
    if os.stat(source).st_dev != os.stat(target).st_dev:
        return False
    for name in os.listdir(source):
        os.replace(os.path.join(source, name), os.path.join(target, name))
    return True
