"""Copies an experiment's own files to a storage that is not local; on a local one there is nothing to do.

Checkpoints go there straight from the workers. The rest (state, results, parameters) is written into a local folder and
copied by one thread: what belongs to a trial when the trial ends, the state after each such copy and every
`SyncConfig.sync_period` seconds.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

from narke.tune.callback import Callback

if TYPE_CHECKING:
    from narke.tune.execution.journal import Journal
    from narke.tune.experiment.trial import Trial

__all__ = ["Uploads"]

logger = logging.getLogger(__name__)
_LAG_S = 0.5


class Uploads(Callback):
    """Copies files of one experiment.

    Args:
        storage: where to.
        local_path: the experiment's local folder.
        journal: whose files are the state.
    """

    def __init__(self, storage: Any, local_path: str, journal: Journal) -> None:
        self._storage = storage
        self._local = local_path
        self._journal = journal
        self._wanted: queue.Queue[str | None] = queue.Queue(maxsize=100_000)
        self._thread: threading.Thread | None = None
        self._asked = time.monotonic()
        if os.path.abspath(local_path) != storage.experiment_fs_path:
            self._thread = threading.Thread(target=self._work, name="tune-uploads", daemon=True)
            self._thread.start()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Have the trial's files copied."""
        if self._thread is not None:
            self._wanted.put(trial.relative_logdir)

    on_trial_error = on_trial_complete  # type: ignore[assignment]

    def on_checkpoint(
        self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Any, **info: Any
    ) -> None:
        """Have the trial's files, and the state with the checkpoint, copied."""
        if self._thread is not None:
            self._wanted.put(trial.relative_logdir)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Have the state copied when its period is over."""
        if (
            self._thread is not None
            and time.monotonic() - self._asked > self._storage.sync_config.sync_period
        ):
            self._asked = time.monotonic()
            self._wanted.put("")

    def finish(self) -> None:
        """Copy all, and return when it is done.

        Raises:
            OSError: the storage does not take it.
        """
        if self._thread is None:
            return
        self._wanted.put(None)
        self._thread.join(self._storage.sync_config.sync_timeout)
        self._copy("")
        self._remove_stale()

    def _work(self) -> None:
        while True:
            names = {self._wanted.get()}
            # Several that end together make one copy of the state.
            time.sleep(_LAG_S if None not in names else 0)
            while not self._wanted.empty():
                names.add(self._wanted.get())
            for name in sorted(filter(None, names)):
                self._try(name)
            self._try_state()
            if None in names:
                return

    def _try(self, name: str) -> None:
        try:
            self._copy(name)
        except OSError as error:
            logger.warning(
                "copying %s to the storage failed, and is tried again later: %s", name or "the state", error
            )

    def _try_state(self) -> None:
        from narke.train._storage import write_bytes

        # The lines of a restored run mean nothing without the snapshot.
        for path in (self._journal.snapshot_path, self._journal.path):
            try:
                with open(path, "rb") as file:
                    data = file.read()
                target = f"{self._storage.experiment_fs_path}/{os.path.basename(path)}"
                write_bytes(self._storage.storage_filesystem, target, data)
            except FileNotFoundError:
                continue  # only one of the two is there at a time
            except OSError as error:
                logger.warning("copying the state to the storage failed, and is tried again later: %s", error)

    def _copy(self, name: str) -> None:
        import pyarrow.fs

        from narke.train._storage import copy_folder

        source = os.path.join(self._local, name) if name else self._local
        target = self._storage.experiment_fs_path + (f"/{name}" if name else "")
        if os.path.isdir(source):
            copy_folder(pyarrow.fs.LocalFileSystem(), source, self._storage.storage_filesystem, target)

    def _remove_stale(self) -> None:
        """The lines that the last snapshot holds."""
        from narke.train._storage import delete

        if not os.path.exists(self._journal.path):
            name = os.path.basename(self._journal.path)
            delete(self._storage.storage_filesystem, f"{self._storage.experiment_fs_path}/{name}")
