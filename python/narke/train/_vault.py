"""The checkpoints of a run in its storage: making them complete, dropping them, finding them again."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from narke.train import _snapshot, _storage
from narke.train._book import Book
from narke.train._checkpoint import Checkpoint
from narke.train._gather import CompleteReport, Part
from narke.train._snapshot import Entry, Snapshot
from narke.train._worker_session import STAGING
from narke.train.v2.api.reported_checkpoint import ReportedCheckpoint, ReportedCheckpointStatus

__all__ = ["Vault"]

_log = logging.getLogger(__name__)


class Vault:
    """A checkpoint is complete when its folder has its name and the snapshot names it, in this order.

    On local disks workers write into a folder of drafts, whose entries get their names by renaming. What an earlier
    attempt left unfinished is removed when one begins.

    Args:
        storage: of the run.
        config: which checkpoints are kept.
        first_generation: number the folders instead of naming them by time.
        goes_on: whether the run goes on from what the folder holds; else its checkpoints are somebody else's to keep.
        files: contents by name of files that every checkpoint gets besides the reported ones.

    Raises:
        OSError: the storage cannot be written to.
    """

    def __init__(
        self,
        storage: _storage.StorageContext,
        config: Any,
        first_generation: bool = False,
        goes_on: bool = True,
        files: dict[str, bytes] | None = None,
    ) -> None:
        self.storage = storage
        self._goes_on, self._files = goes_on, files or {}
        self._first_generation = first_generation
        self._fs, self.folder = storage.storage_filesystem, storage.trial_fs_path
        _storage.make_folder(self._fs, self.folder)
        old = (_snapshot.load(self._fs, self.folder) if goes_on else self._counted()) or Snapshot()
        self.reports, self._checkpoints = old.reports, old.checkpoints
        self.resumed = old.latest_checkpoint_result is not None
        self.book = Book(
            config.num_to_keep,
            config.checkpoint_score_attribute,
            config.checkpoint_score_order or "max",
            old.checkpoint_results,
            old.latest_checkpoint_result,
        )
        if self.book.latest is not None:  # the same object stands in both places
            names = {each.checkpoint_dir_name: each for each in self.book.entries}
            self.book.latest = names.get(self.book.latest.checkpoint_dir_name, self.book.latest)

    def begin_attempt(self) -> None:
        """Remove what an earlier attempt left unfinished: the next one may give its folders the same names."""
        _storage.delete(self._fs, f"{self.folder}/{STAGING}")
        for name in _storage.list_folder(self._fs, self.folder):
            number = name.removeprefix("checkpoint_").rpartition(".")[2]
            next_number = self._checkpoints if "." not in name else self.reports
            if name.startswith("checkpoint_") and number.isdigit() and int(number) >= next_number:
                _storage.delete(self._fs, f"{self.folder}/{name}")

    def _counted(self) -> Snapshot:
        """No checkpoints, but numbers that go on behind those in the folder."""
        names = [name.removeprefix("checkpoint_") for name in _storage.list_folder(self._fs, self.folder)]
        return Snapshot(checkpoints=max((int(name) + 1 for name in names if name.isdigit()), default=0))

    @property
    def latest(self) -> Checkpoint | None:
        """The run's last complete checkpoint."""
        return self.at(self.book.latest) if self.book.latest else None

    def at(self, entry: Entry) -> Checkpoint:
        """The checkpoint of an entry."""
        return Checkpoint(entry.where(self.folder), self._fs)

    def kept(self) -> list[tuple[Checkpoint, dict[str, Any]]]:
        """The kept checkpoints with their metrics, best last."""
        return [(self.at(each), each.metrics) for each in self.book.entries]

    def reported(self) -> list[ReportedCheckpoint]:
        """The kept checkpoints as training functions see them, oldest first."""
        ordered = sorted(self.book.entries, key=lambda each: each.index)
        return [
            ReportedCheckpoint(self.at(each), each.metrics, ReportedCheckpointStatus[each.status])
            for each in ordered
        ]

    def names(self, stamp: str) -> Any:
        """Gives folder names of the checkpoints of an attempt.

        Args:
            stamp: time at which the attempt began.
        """
        if self._first_generation:
            return partial(_numbered, self._checkpoints)
        return partial(_stamped, stamp)

    def complete(self, report: CompleteReport, metrics: dict[str, Any], validates: bool) -> Entry | None:
        """All parts of a report are stored: give its checkpoint, if it has one, its place.

        Args:
            report: with parts of all ranks.
            metrics: of the checkpoint.
            validates: whether its validation follows.

        Returns:
            the new entry; None if the report has no checkpoint.

        Raises:
            OSError: the storage cannot be written to. The former checkpoint is untouched.
        """
        self.reports = report.index + 1
        part = report.checkpoint
        if part is None:
            return None
        assert part.checkpoint is not None
        self._add_files(part)
        self._name_folder(part.checkpoint)
        status = "PENDING_VALIDATION" if validates else "COMMITTED"
        entry = Entry(part.checkpoint, metrics, report.index, status, part.path)
        self.book.entries = [
            each for each in self.book.entries if each.checkpoint_dir_name != part.checkpoint
        ]
        self._checkpoints += 1
        dropped = self.book.add(entry)
        self.save()
        self._drop(dropped)
        return entry

    def validated(self, entry: Entry, metrics: dict[str, Any], status: ReportedCheckpointStatus) -> None:
        """The validation of a checkpoint has ended.

        Args:
            entry: of the checkpoint.
            metrics: to add to its own.
            status: how it ended.
        """
        entry.metrics = {**entry.metrics, **metrics}
        entry.status = status.name
        dropped = self.book.sort()
        self.save()
        self._drop(dropped)

    def save(
        self, finished: bool = False, error: str | None = None, metrics: dict[str, Any] | None = None
    ) -> None:
        """Store the snapshot, if the run is the one to keep it."""
        if finished or error is not None:  # before that a worker may be about to store something there
            _storage.delete_if_empty(self._fs, f"{self.folder}/{STAGING}")
        if not self._goes_on:
            return
        state = Snapshot(
            self.book.entries,
            self.book.latest,
            self.reports,
            self._checkpoints,
            metrics or {},
            finished,
            error,
        )
        _snapshot.save(state, self._fs, self.folder)

    def _add_files(self, part: Part) -> None:
        draft = f"{self.folder}/{STAGING}/{part.checkpoint}"
        local = _storage.is_local(self._fs) and _storage.exists(self._fs, draft)
        folder = part.path or (draft if local else f"{self.folder}/{part.checkpoint}")
        for name, content in self._files.items():
            _storage.write_bytes(self._fs, f"{folder}/{name}", content)

    def _name_folder(self, name: str) -> None:
        draft, target = f"{self.folder}/{STAGING}/{name}", f"{self.folder}/{name}"
        if _storage.is_local(self._fs) and _storage.exists(self._fs, draft):
            _storage.delete(self._fs, target)
            self._fs.move(draft, target)

    def _drop(self, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.path is not None and not entry.path.startswith(f"{self.folder}/"):
                continue  # it was never the run's
            try:
                _storage.delete(self._fs, entry.where(self.folder))
            except OSError as error:
                _log.warning("the checkpoint %s could not be deleted: %s", entry.where(self.folder), error)


def _numbered(before: int, _index: int, count: int) -> str:
    return f"checkpoint_{before + count:06d}"


def _stamped(stamp: str, index: int, _count: int) -> str:
    return f"checkpoint_{stamp}.{index:06d}"
