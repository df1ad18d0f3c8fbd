"""`TBXLoggerCallback`: each trial's results for TensorBoard."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from narke.tune.logger import _events
from narke.tune.logger.logger import LoggerCallback
from narke.tune.result import TIME_TOTAL_S, TIMESTEPS_TOTAL, TRAINING_ITERATION
from narke.tune.search.util import flattened

if TYPE_CHECKING:
    from narke.tune.experiment.trial import Trial

__all__ = ["TBXLoggerCallback"]

VALID_SUMMARY_TYPES = [int, float, np.float32, np.float64, np.int32, np.int64]
_LEFT_OUT = ("config", "pid", "timestamp", TIME_TOTAL_S, TRAINING_ITERATION)


class TBXLoggerCallback(LoggerCallback):
    """Writes an event file into the trial's folder: numbers, lists of numbers as histograms, hyperparameters.

    Needs no package. Files are written at each result.
    """

    VALID_HPARAMS = (str, bool, int, float, list, type(None))
    VALID_NP_HPARAMS = (np.bool_, np.float32, np.float64, np.int32, np.int64)

    def __init__(self) -> None:
        self._trial_writer: dict[Trial, _events.EventWriter] = {}
        self._trial_result: dict[Trial, dict] = {}

    def log_trial_start(self, trial: Trial) -> None:
        """Begin a new file."""
        self._close(trial)
        trial.init_local_path()
        self._trial_writer[trial] = _events.EventWriter(trial.local_path or "")
        self._trial_result[trial] = {}

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Write a result."""
        if trial not in self._trial_writer:
            self.log_trial_start(trial)
        step = result.get(TIMESTEPS_TOTAL) or result[TRAINING_ITERATION]
        flat = flattened({key: value for key, value in result.items() if key not in _LEFT_OUT})
        values = [
            each for each in (_summary(f"ray/tune/{key}", value) for key, value in flat.items()) if each
        ]
        writer = self._trial_writer[trial]
        writer.add(step, values)
        writer.flush()
        self._trial_result[trial] = flat

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Write the hyperparameters, and close the file."""
        self._close(trial)

    def _close(self, trial: Trial) -> None:
        writer, result = self._trial_writer.pop(trial, None), self._trial_result.pop(trial, {})
        if writer is None:
            return
        if trial.evaluated_params and result:
            writer.add(0, _events.hparams(*self._hparams(trial, result), str(trial)))
        writer.close()

    def _hparams(self, trial: Trial, result: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        known: dict[str, Any] = {}
        for key, value in flattened(trial.evaluated_params).items():
            if isinstance(value, self.VALID_NP_HPARAMS):
                value = value.item()
            known[str(key)] = (
                value if isinstance(value, self.VALID_HPARAMS) and value is not None else str(value)
            )
        metrics = [f"ray/tune/{key}" for key, value in result.items() if _is_number(value)]
        return known, metrics


def _is_number(value: Any) -> bool:
    return type(value) in VALID_SUMMARY_TYPES and not math.isnan(value)


def _summary(tag: str, value: Any) -> bytes | None:
    if _is_number(value):
        return _events.scalar(tag, value)
    if isinstance(value, (list, tuple, np.ndarray)) and len(value) > 0:
        try:
            flat = np.asarray(value, dtype=float)
        except (TypeError, ValueError):
            return None
        return _events.histogram(tag, flat) if flat.size and np.isfinite(flat).all() else None
    return None


def __getattr__(name: str) -> Any:
    if name == "TBXLogger":
        from narke.tune.logger._legacy import TBXLogger

        return TBXLogger
    raise AttributeError(f"narke.tune.logger.tensorboardx has no {name!r}")
