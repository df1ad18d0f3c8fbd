"""What a run of the first generation writes into its folder beside checkpoints: result.json, progress.csv, params."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from narke import cloudpickle
from narke.air.constants import (
    EXPR_ERROR_FILE,
    EXPR_ERROR_PICKLE_FILE,
    EXPR_PARAM_FILE,
    EXPR_PARAM_PICKLE_FILE,
    EXPR_PROGRESS_FILE,
    EXPR_RESULT_FILE,
)
from narke.train import _storage
from narke.train._snapshot import _plain
from narke.tune.search.util import flattened

__all__ = ["Filler", "TrialFiles"]

_EVERY_S = 5.0


class Filler:
    """Adds to reported metrics what Tune's results hold too.

    Args:
        trial_id: of the run.
        config: that the trainer was made with.
        done: how many reports the run had before.
        clock: seconds since 1970.
    """

    def __init__(
        self, trial_id: str, config: dict[str, Any], done: int = 0, clock: Callable[[], float] = time.time
    ) -> None:
        self._trial_id, self._config, self._clock = trial_id, config, clock
        self._began = self._last = clock()
        self._before, self._count = done, 0

    def __call__(self, metrics: dict[str, Any], folder: str | None) -> dict[str, Any]:
        """The metrics with what is filled in; reported ones win.

        Args:
            metrics: as reported.
            folder: name of the checkpoint's folder, if there is one.
        """
        now = self._clock()
        self._count += 1
        filled = {
            "timestamp": int(now),
            "checkpoint_dir_name": folder,
            "should_checkpoint": folder is not None,
            "done": False,
            "training_iteration": self._before + self._count,
            "trial_id": self._trial_id,
            "date": f"{datetime.fromtimestamp(now):%Y-%m-%d_%H-%M-%S}",
            "time_this_iter_s": now - self._last,
            "time_total_s": now - self._began,
            "pid": os.getpid(),
            "hostname": socket.gethostname(),
            "node_ip": "127.0.0.1",
            "config": self._config,
            "time_since_restore": now - self._began,
            "iterations_since_restore": self._count,
        }
        self._last = now
        return {**filled, **metrics}


class TrialFiles:
    """Writes results as they come; on storage that cannot append, every few seconds as a whole.

    Args:
        storage: of the run.
        config: that the trainer was made with.
    """

    def __init__(self, storage: _storage.StorageContext, config: dict[str, Any]) -> None:
        self._fs, self._folder = storage.storage_filesystem, storage.trial_fs_path
        _storage.make_folder(self._fs, self._folder)
        self._write(EXPR_PARAM_FILE, json.dumps(_plain(config), indent=2).encode())
        self._write(EXPR_PARAM_PICKLE_FILE, cloudpickle.dumps(config))
        old = f"{self._folder}/{EXPR_RESULT_FILE}"
        self._lines = _storage.read_bytes(self._fs, old) if _storage.exists(self._fs, old) else b""
        self._rows: list[dict[str, Any]] = [json.loads(line) for line in self._lines.splitlines()]
        self._written = 0.0

    def add(self, metrics: dict[str, Any]) -> None:
        """A report is complete."""
        row = _plain(metrics)
        self._rows.append(row)
        line = json.dumps(row).encode() + b"\n"
        if _storage.is_local(self._fs):
            with open(f"{self._folder}/{EXPR_RESULT_FILE}", "ab") as file:
                file.write(line)
            return
        self._lines += line
        if time.monotonic() - self._written > _EVERY_S:
            self._write(EXPR_RESULT_FILE, self._lines)
            self._written = time.monotonic()

    def close(self, error: Exception | None) -> None:
        """The run has ended."""
        if not _storage.is_local(self._fs) and self._lines:
            self._write(EXPR_RESULT_FILE, self._lines)
        if self._rows:
            self._write(EXPR_PROGRESS_FILE, _as_csv(self._rows))
        if error is not None:
            self._write(EXPR_ERROR_FILE, str(error).encode())
            self._write(EXPR_ERROR_PICKLE_FILE, cloudpickle.dumps(error))

    def _write(self, name: str, data: bytes) -> None:
        _storage.write_bytes(self._fs, f"{self._folder}/{name}", data)


def _as_csv(rows: list[dict[str, Any]]) -> bytes:
    flat = [flattened(row) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue().encode()
