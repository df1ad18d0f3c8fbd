"""The callbacks of an experiment: the user's, and those that write files and show progress."""

from __future__ import annotations

import importlib
import os
from typing import Any

from narke.tune.callback import Callback
from narke.tune.constants import RAY_TUNE_CALLBACKS_ENV_VAR
from narke.tune.logger import CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback

__all__ = ["DEFAULT_CALLBACK_CLASSES", "default_callbacks"]

DEFAULT_CALLBACK_CLASSES = (CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback)


def default_callbacks(callbacks: list[Callback] | None, loggers: list | None = None) -> list[Callback]:
    """Add the loggers of files to a user's callbacks, unless they are there or switched off.

    Args:
        callbacks: the user's.
        loggers: logger classes of older programs, in place of those of files.

    Raises:
        ValueError: one is no callback.
    """
    chosen = list(callbacks or [])
    wrong = [each for each in chosen if not isinstance(each, Callback)]
    if wrong:
        raise ValueError(f"callbacks are instances of narke.tune.Callback, not {wrong[0]!r}")
    chosen += _from_environment()
    if loggers is not None:
        from narke.tune.logger._legacy import callbacks_for

        return chosen + callbacks_for(loggers)
    if os.environ.get("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS") != "1":
        for kind in DEFAULT_CALLBACK_CLASSES:
            if not any(isinstance(each, kind) for each in chosen):
                chosen.append(kind())
    return chosen


def _from_environment() -> list[Callback]:
    """Callbacks that RAY_TUNE_CALLBACKS names: "package.module.Class", several with commas."""
    found: list[Any] = []
    for name in filter(None, os.environ.get(RAY_TUNE_CALLBACKS_ENV_VAR, "").split(",")):
        module, _, attribute = name.strip().rpartition(".")
        if not module:
            raise ValueError(f"{RAY_TUNE_CALLBACKS_ENV_VAR} names {name!r}; it must be package.module.Class")
        found.append(getattr(importlib.import_module(module), attribute)())
    return found
