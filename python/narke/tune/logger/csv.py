"""`CSVLoggerCallback`: each trial's results as a table."""

from __future__ import annotations

import csv
import os
from typing import TYPE_CHECKING, Any, TextIO

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
        self._trial_files: dict[Trial, TextIO] = {}
        self._trial_csv: dict[Trial, csv.DictWriter] = {}

    def _open(self, trial: Trial) -> None:
        trial.init_local_path()
        self._restore_from_remote(EXPR_PROGRESS_FILE, trial)
        path = os.path.join(trial.local_path or "", EXPR_PROGRESS_FILE)
        self._trial_continue[trial] = os.path.exists(path) and os.path.getsize(path) > 0
        self._trial_files[trial] = open(path, "a", encoding="utf-8", newline="")

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Write a row."""
        if trial not in self._trial_files:
            self._open(trial)
        row = flattened({key: value for key, value in result.items() if key != "config"})
        if trial not in self._trial_csv:
            columns = self._known_columns(trial) or list(row)
            self._trial_csv[trial] = csv.DictWriter(self._trial_files[trial], columns)
            if not self._trial_continue[trial]:
                self._trial_csv[trial].writeheader()
        writer = self._trial_csv[trial]
        writer.writerow({key: value for key, value in row.items() if key in writer.fieldnames})
        self._trial_files[trial].flush()

    def _known_columns(self, trial: Trial) -> list[str] | None:
        if not self._trial_continue[trial]:
            return None
        with open(
            os.path.join(trial.local_path or "", EXPR_PROGRESS_FILE), encoding="utf-8", newline=""
        ) as file:
            return next(csv.reader(file), None)

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Close the file."""
        self._trial_csv.pop(trial, None)
        if trial in self._trial_files:
            self._trial_files.pop(trial).close()
        self._trial_continue.pop(trial, None)


def __getattr__(name: str) -> Any:
    if name == "CSVLogger":
        from narke.tune.logger._legacy import CSVLogger

        return CSVLogger
    raise AttributeError(f"narke.tune.logger.csv has no {name!r}")
