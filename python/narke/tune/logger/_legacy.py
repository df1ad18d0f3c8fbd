"""Loggers of older programs: an object for each trial, made from a class.

`tune.run(loggers=[...])` wraps such classes in a `LegacyLoggerCallback`. The loggers of files write what
their callbacks write, in place.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from narke.tune.callback import Callback
from narke.tune.logger.csv import CSVLoggerCallback
from narke.tune.logger.json import JsonLoggerCallback
from narke.tune.logger.logger import LoggerCallback
from narke.tune.logger.tensorboardx import TBXLoggerCallback

if TYPE_CHECKING:
    from narke.tune.experiment.trial import Trial

__all__ = [
    "DEFAULT_LOGGERS",
    "CSVLogger",
    "JsonLogger",
    "LegacyLoggerCallback",
    "Logger",
    "NoopLogger",
    "TBXLogger",
    "UnifiedLogger",
    "callbacks_for",
]


class Logger:
    """Writes one trial's results; the base of users' loggers.

    Args:
        config: the trial's configuration.
        logdir: its folder.
        trial: it.
    """

    def __init__(self, config: dict[str, Any], logdir: str, trial: Trial | None = None) -> None:
        self.config = config
        self.logdir = logdir
        self.trial = trial
        self._init()

    def _init(self) -> None:
        """Prepare; for subclasses."""

    def on_result(self, result: dict[str, Any]) -> None:
        """Write a result."""
        raise NotImplementedError

    def update_config(self, config: dict[str, Any]) -> None:
        """Take a changed configuration."""

    def close(self) -> None:
        """End."""

    def flush(self) -> None:
        """Write what is buffered."""


class NoopLogger(Logger):
    """Writes nothing."""

    def on_result(self, result: dict[str, Any]) -> None:
        """Nothing."""


class _Folder:
    """Stands for a trial before the callbacks of files."""

    def __init__(self, config: dict[str, Any], logdir: str) -> None:
        self.config = self.evaluated_params = config
        self.local_path = self.path = logdir
        self.uses_cloud_checkpointing = False
        self.storage = None

    def init_local_path(self) -> None:
        """Make the folder."""
        os.makedirs(self.local_path, exist_ok=True)


class _FileLogger(Logger):
    """Writes what a callback writes."""

    _kind: type[LoggerCallback]

    def _init(self) -> None:
        self._written: Any = self._kind()
        self._for: Any = _Folder(self.config, self.logdir)
        self._written.log_trial_start(self._for)  # type: ignore[arg-type]

    def on_result(self, result: dict[str, Any]) -> None:
        """Write a result."""
        self._written.log_trial_result(0, self._for, result)

    def close(self) -> None:
        """Close the file."""
        self._written.log_trial_end(self._for)


class JsonLogger(_FileLogger):
    """Writes result.json, params.json and params.pkl."""

    _kind = JsonLoggerCallback

    def write(self, b: str) -> None:
        """Write text into result.json."""
        file = self._written._trial_files[self._for]
        file.write(b)
        file.flush()

    def update_config(self, config: dict[str, Any]) -> None:
        """Write a changed configuration."""
        self.config = config
        self._written.update_config(self._for, config)


class CSVLogger(_FileLogger):
    """Writes progress.csv."""

    _kind = CSVLoggerCallback


class TBXLogger(_FileLogger):
    """Writes event files for TensorBoard."""

    _kind = TBXLoggerCallback


DEFAULT_LOGGERS = (JsonLogger, CSVLogger, TBXLogger)


class UnifiedLogger(Logger):
    """Hands results to several loggers.

    Args:
        config, logdir, trial: see `Logger`.
        loggers: their classes; `DEFAULT_LOGGERS` if None.
    """

    def __init__(
        self,
        config: dict[str, Any],
        logdir: str,
        trial: Trial | None = None,
        loggers: Iterable[type[Logger]] | None = None,
    ) -> None:
        self._kinds = list(loggers if loggers is not None else DEFAULT_LOGGERS)
        super().__init__(config, logdir, trial)

    def _init(self) -> None:
        self._loggers = [kind(self.config, self.logdir, self.trial) for kind in self._kinds]

    def on_result(self, result: dict[str, Any]) -> None:
        """Have all write a result."""
        for each in self._loggers:
            each.on_result(result)

    def update_config(self, config: dict[str, Any]) -> None:
        """Tell all of a changed configuration."""
        for each in self._loggers:
            each.update_config(config)

    def close(self) -> None:
        """End all."""
        for each in self._loggers:
            each.close()

    def flush(self) -> None:
        """Have all write what is buffered."""
        for each in self._loggers:
            each.flush()


class LegacyLoggerCallback(LoggerCallback):
    """Makes loggers of older programs for each trial.

    Args:
        logger_classes: their classes.
    """

    def __init__(self, logger_classes: Iterable[type[Logger]]) -> None:
        self.logger_classes = list(logger_classes)
        self._class_trial_loggers: dict[type[Logger], dict[Trial, Logger]] = {}

    def log_trial_start(self, trial: Trial) -> None:
        """Make the trial's loggers."""
        trial.init_local_path()
        for kind in self.logger_classes:
            loggers = self._class_trial_loggers.setdefault(kind, {})
            if trial not in loggers:
                loggers[trial] = kind(trial.config, trial.local_path or "", trial)

    def _of(self, trial: Trial) -> list[Logger]:
        return [loggers[trial] for loggers in self._class_trial_loggers.values() if trial in loggers]

    def log_trial_restore(self, trial: Trial) -> None:
        """Write what is buffered."""
        for each in self._of(trial):
            each.flush()

    def log_trial_save(self, trial: Trial) -> None:
        """Write what is buffered."""
        for each in self._of(trial):
            each.flush()

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Have the trial's loggers write the result."""
        for each in self._of(trial):
            each.on_result(result)

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """End the trial's loggers."""
        for loggers in self._class_trial_loggers.values():
            if trial in loggers:
                loggers.pop(trial).close()


def callbacks_for(loggers: list) -> list[Callback]:
    """The callbacks that `tune.run(loggers=...)` asks for: classes of loggers, callbacks, or both."""
    classes = [each for each in loggers if isinstance(each, type) and issubclass(each, Logger)]
    ready = [each for each in loggers if isinstance(each, Callback)]
    unknown = [each for each in loggers if each not in classes and each not in ready]
    if unknown:
        raise ValueError(f"loggers are classes derived from Logger, or callbacks, not {unknown[0]!r}")
    return [*ready, *([LegacyLoggerCallback(classes)] if classes else [])]
