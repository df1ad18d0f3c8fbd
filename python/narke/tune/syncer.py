"""Copying experiments' files, in the words of older programs.

Checkpoints and results are written straight to their storage, whatever filesystem it is on. What is here is for
programs that copy files themselves: `Syncer`, the base of classes that know how, and `SyncerCallback`, which brings the
files that trials write on other nodes to the driver's.
"""

from __future__ import annotations

import abc
import logging
import time
from typing import TYPE_CHECKING, Any

from narke.train._config import SyncConfig
from narke.tune.callback import Callback

if TYPE_CHECKING:
    from narke.tune.experiment.trial import Trial

__all__ = [
    "DEFAULT_SYNC_PERIOD",
    "DEFAULT_SYNC_TIMEOUT",
    "SyncConfig",
    "Syncer",
    "SyncerCallback",
    "get_node_to_storage_syncer",
    "upload_callbacks",
]

DEFAULT_SYNC_PERIOD = 300
DEFAULT_SYNC_TIMEOUT = 1800

logger = logging.getLogger(__name__)


class Syncer(abc.ABC):
    """Copies folders to a remote place and back.

    Subclasses implement `sync_up`, `sync_down` and `delete`, which may begin their work and return; those that do also
    implement `wait`.

    Args:
        sync_period: seconds between copies by `sync_up_if_needed` and `sync_down_if_needed`.
        sync_timeout: seconds that a copy may take.
    """

    def __init__(
        self, sync_period: float = DEFAULT_SYNC_PERIOD, sync_timeout: float = DEFAULT_SYNC_TIMEOUT
    ) -> None:
        self.sync_period = sync_period
        self.sync_timeout = sync_timeout
        self.last_sync_up_time = float("-inf")
        self.last_sync_down_time = float("-inf")

    @classmethod
    def validate_upload_dir(cls, upload_dir: str) -> bool:
        """Whether this knows a remote folder; raises ValueError if it does not."""
        return True

    @abc.abstractmethod
    def sync_up(self, local_dir: str, remote_dir: str, exclude: list | None = None) -> bool:
        """Copy a local folder to a remote one.

        Args:
            local_dir, remote_dir: from where, and to where.
            exclude: patterns of names to leave out.

        Returns:
            whether the copy has begun.
        """

    @abc.abstractmethod
    def sync_down(self, remote_dir: str, local_dir: str, exclude: list | None = None) -> bool:
        """Copy a remote folder to a local one; see `sync_up`."""

    @abc.abstractmethod
    def delete(self, remote_dir: str) -> bool:
        """Delete a remote folder; returns whether that has begun."""

    def retry(self) -> None:
        """Begin the last work again.

        Raises:
            NotImplementedError: this cannot.
        """
        raise NotImplementedError(f"{type(self).__name__} has no retry")

    def wait(self) -> None:  # noqa: B027  # nothing to wait for where copies are done at once
        """Wait for what was begun; raises its error."""

    def wait_or_retry(self, max_retries: int = 3, backoff_s: float = 5) -> None:
        """Wait, and begin again after errors.

        Args:
            max_retries: how often.
            backoff_s: seconds between attempts.

        Raises:
            RuntimeError: the last attempt failed, too.
        """
        for attempt in range(max_retries + 1):
            try:
                self.wait()
                return
            except Exception as error:
                if attempt == max_retries:
                    raise RuntimeError(
                        f"copying failed {max_retries + 1} times, the last time: {error}"
                    ) from error
                logger.warning("copying failed and begins again: %s", error)
                time.sleep(backoff_s)
                self.retry()

    def sync_up_if_needed(self, local_dir: str, remote_dir: str, exclude: list | None = None) -> bool:
        """`sync_up`, if the last one is longer ago than the period; returns whether it was begun."""
        if time.time() - self.last_sync_up_time < self.sync_period:
            return False
        self.last_sync_up_time = time.time()
        return self.sync_up(local_dir, remote_dir, exclude)

    def sync_down_if_needed(self, remote_dir: str, local_dir: str, exclude: list | None = None) -> bool:
        """`sync_down`, if the last one is longer ago than the period; returns whether it was begun."""
        if time.time() - self.last_sync_down_time < self.sync_period:
            return False
        self.last_sync_down_time = time.time()
        return self.sync_down(remote_dir, local_dir, exclude)

    def reset(self) -> None:
        """Forget when the last copies were."""
        self.last_sync_up_time = self.last_sync_down_time = float("-inf")

    def close(self) -> None:  # noqa: B027  # most hold nothing
        """End what this holds."""


class _StorageSyncer(Syncer):
    """Copies between local folders and any filesystem that a storage may lie on."""

    def sync_up(self, local_dir: str, remote_dir: str, exclude: list | None = None) -> bool:
        """Copy; see `Syncer.sync_up`."""
        return self._copy(local_dir, remote_dir, exclude)

    def sync_down(self, remote_dir: str, local_dir: str, exclude: list | None = None) -> bool:
        """Copy; see `Syncer.sync_down`."""
        return self._copy(remote_dir, local_dir, exclude)

    def delete(self, remote_dir: str) -> bool:
        """Delete; see `Syncer.delete`."""
        from narke.train import _storage

        filesystem, path = _storage.filesystem_and_path(remote_dir, None)
        _storage.delete(filesystem, path)
        return True

    @staticmethod
    def _copy(source: str, target: str, exclude: list | None) -> bool:
        import fnmatch
        import posixpath

        import pyarrow.fs

        from narke.train import _storage

        from_fs, from_path = _storage.filesystem_and_path(source, None)
        to_fs, to_path = _storage.filesystem_and_path(target, None)
        for info in from_fs.get_file_info(pyarrow.fs.FileSelector(from_path, recursive=True)):
            name = posixpath.relpath(info.path, from_path)
            left_out = any(fnmatch.fnmatch(name, pattern) for pattern in exclude or ())
            if info.type == pyarrow.fs.FileType.File and not left_out:
                _storage.make_folder(to_fs, posixpath.dirname(f"{to_path}/{name}"))
                _storage.write_bytes(to_fs, f"{to_path}/{name}", _storage.read_bytes(from_fs, info.path))
        return True


def get_node_to_storage_syncer(sync_config: SyncConfig) -> Syncer | None:
    """The syncer of a configuration.

    Args:
        sync_config: its `syncer` is a `Syncer`, "auto" for one that knows the filesystems of storages, or None.

    Raises:
        ValueError: it is something else.
    """
    chosen = sync_config.syncer
    if chosen is None or isinstance(chosen, Syncer):
        return chosen
    if chosen == "auto":
        return _StorageSyncer(sync_period=sync_config.sync_period, sync_timeout=sync_config.sync_timeout)
    raise ValueError(f"SyncConfig.syncer is {chosen!r}; it must be None, 'auto' or a Syncer")


class SyncerCallback(Callback):
    """Copies the files that trials write in their local folders on other nodes to the driver's node.

    Args:
        enabled: whether it does.
        sync_period: seconds between copies of a running trial's files; they are also copied when it ends.
    """

    def __init__(self, enabled: bool = True, sync_period: float = DEFAULT_SYNC_PERIOD) -> None:
        self._enabled = enabled
        self._sync_period = sync_period
        self._begun: dict[str, float] = {}
        self._copies: dict[str, Any] = {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Count the period from now."""
        self._begun[trial.trial_id] = time.monotonic()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Copy, if the period is over."""
        if time.monotonic() - self._begun.get(trial.trial_id, 0.0) >= self._sync_period:
            self._copy(trial)

    def on_checkpoint(
        self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Any, **info: Any
    ) -> None:
        """Copy, so that what belongs to the checkpoint is there."""
        self._copy(trial)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Copy for the last time."""
        self._copy(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Copy for the last time."""
        self._copy(trial)

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Wait for all copies."""
        self.wait_for_all()

    def wait_for_all(self) -> None:
        """Wait for all copies that were begun; a failed one is a warning."""
        import narke

        copies, self._copies = self._copies, {}
        for tid, copy in copies.items():
            try:
                narke.get(copy, timeout=DEFAULT_SYNC_TIMEOUT)
            except Exception as error:
                logger.warning("files of the trial %s could not be brought to this node: %s", tid, error)

    def _copy(self, trial: Trial) -> None:
        import narke
        from narke.tune.utils.file_transfer import sync_dir_between_nodes

        here, there = narke.util.get_node_ip_address(), trial.last_result.get("node_ip")
        folder = trial.local_path
        if not self._enabled or folder is None or there in (None, here):
            return
        self._begun[trial.trial_id] = time.monotonic()
        self._copies[trial.trial_id] = sync_dir_between_nodes(
            there, folder, here, folder, return_futures=True
        )


def upload_callbacks(storage: Any) -> list[Callback]:
    """What copies an experiment's folder to ``SyncConfig.upload_dir`` by a syncer that the program gave.

    Args:
        storage: of the experiment.

    Raises:
        ValueError: there is a syncer and no upload_dir, or the syncer does not know it.
    """
    config = storage.sync_config
    if not isinstance(config.syncer, Syncer):
        return []
    if not config.upload_dir or not config.validate_upload_dir():
        raise ValueError(
            f"SyncConfig.syncer copies to SyncConfig.upload_dir, which is {config.upload_dir!r}: set it to a folder "
            f"that {type(config.syncer).__name__} knows"
        )
    return [_Upload(config.syncer, storage.experiment_fs_path, config.upload_dir)]


class _Upload(Callback):
    """Copies an experiment's folder now and then, and at its end."""

    def __init__(self, syncer: Syncer, folder: str, upload_dir: str) -> None:
        self._syncer = syncer
        self._folder = folder
        self._target = f"{upload_dir.rstrip('/')}/{folder.rstrip('/').rpartition('/')[2]}"

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Copy, if the period is over."""
        if trials:
            self._syncer.sync_up_if_needed(self._folder, self._target)

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Copy for the last time."""
        self._syncer.wait_or_retry()
        self._syncer.sync_up(self._folder, self._target)
        self._syncer.wait_or_retry()
        self._syncer.close()
