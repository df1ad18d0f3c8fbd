"""`JsonLoggerCallback`: each trial's configuration and results as JSON."""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from narke.tune._files import Appender, write_new
from narke.tune.logger.logger import LoggerCallback, safe_json
from narke.tune.result import EXPR_PARAM_FILE, EXPR_PARAM_PICKLE_FILE, EXPR_RESULT_FILE

if TYPE_CHECKING:
    from narke.tune.experiment.trial import Trial

__all__ = ["JsonLoggerCallback"]

VALID_SUMMARY_TYPES = [int, float, np.float32, np.float64, np.int32, np.int64]
logger = logging.getLogger(__name__)
_text_of = json.JSONEncoder(default=safe_json).encode


class JsonLoggerCallback(LoggerCallback):
    """Writes ``params.json``, ``params.pkl`` and, a line for each result, ``result.json`` into the trial's folder."""

    def __init__(self) -> None:
        self._trial_configs: dict[Trial, dict] = {}
        self._trial_files: dict[Trial, Appender] = {}

    def log_trial_start(self, trial: Trial) -> None:
        """Write the configuration, and open the file of results."""
        if trial in self._trial_files:
            self._trial_files.pop(trial).close()
        trial.init_local_path()
        self.update_config(trial, trial.config)
        self._restore_from_remote(EXPR_RESULT_FILE, trial)
        self._trial_files[trial] = Appender(os.path.join(trial.local_path or "", EXPR_RESULT_FILE))

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Write a result, and the configuration if it changed."""
        if trial not in self._trial_files:
            self.log_trial_start(trial)
        self._trial_files[trial].write(_text_of(result) + "\n")
        if trial.config is not self._trial_configs[trial] and trial.config != self._trial_configs[trial]:
            self.update_config(trial, trial.config)

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Close the file."""
        if trial in self._trial_files:
            self._trial_files.pop(trial).close()
        self._trial_configs.pop(trial, None)

    def update_config(self, trial: Trial, config: dict) -> None:
        """Write a configuration; as a pickle too, if it can be pickled."""
        from narke import cloudpickle

        self._trial_configs[trial] = config
        folder = trial.local_path or ""
        text = json.dumps(config, indent=2, sort_keys=True, default=safe_json)
        write_new(os.path.join(folder, EXPR_PARAM_FILE), text)
        try:
            write_new(os.path.join(folder, EXPR_PARAM_PICKLE_FILE), cloudpickle.dumps(config))
        except Exception as error:
            logger.warning("the configuration of trial %s cannot be pickled: %s", trial, error)


def __getattr__(name: str) -> Any:
    if name == "JsonLogger":
        from narke.tune.logger._legacy import JsonLogger

        return JsonLogger
    raise AttributeError(f"narke.tune.logger.json has no {name!r}")
