"""`CSVLoggerCallback`: each trial's results as a table."""

from __future__ import annotations

import csv
import io
import os
from typing import TYPE_CHECKING, Any

from narke.tune._files import Appender
from narke.tune.logger.logger import LoggerCallback
from narke.tune.result import EXPR_PROGRESS_FILE
from narke.tune.search.util import flattened

if TYPE_CHECKING:
    from narke.tune.experiment.trial import Trial

__all__ = ["CSVLoggerCallback"]


class CSVLoggerCallback(LoggerCallback):
    """Writes ``progress.csv`` into the trial's folder. The first result has the columns; later others are left out."""

    def __init__(self) -> None:
        self._trial_continue: dict[Trial, bool] = {}
        self._trial_files: dict[Trial, Appender] = {}
        self._trial_columns: dict[Trial, list[str]] = {}

    def _open(self, trial: Trial) -> None:
        trial.init_local_path()
        self._restore_from_remote(EXPR_PROGRESS_FILE, trial)
        file = Appender(os.path.join(trial.local_path or "", EXPR_PROGRESS_FILE))
        self._trial_files[trial], self._trial_continue[trial] = file, not file.is_empty()

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Write a row."""
        if trial not in self._trial_files:
            self._open(trial)
        row = flattened({key: value for key, value in result.items() if key != "config"})
        columns = self._trial_columns.get(trial)
        text = io.StringIO()
        if columns is None:
            columns = self._known_columns(trial) or list(row)
            self._trial_columns[trial] = columns
            if not self._trial_continue[trial]:
                csv.writer(text).writerow(columns)
        csv.writer(text).writerow([row.get(name, "") for name in columns])
        self._trial_files[trial].write(text.getvalue())

    def _known_columns(self, trial: Trial) -> list[str] | None:
        if not self._trial_continue[trial]:
            return None
        with open(
            os.path.join(trial.local_path or "", EXPR_PROGRESS_FILE), encoding="utf-8", newline=""
        ) as file:
            return next(csv.reader(file), None)

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Close the file."""
        self._trial_columns.pop(trial, None)
        if trial in self._trial_files:
            self._trial_files.pop(trial).close()
        self._trial_continue.pop(trial, None)


def __getattr__(name: str) -> Any:
    if name == "CSVLogger":
        from narke.tune.logger._legacy import CSVLogger

        return CSVLogger
    raise AttributeError(f"narke.tune.logger.csv has no {name!r}")
