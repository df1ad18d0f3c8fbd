"""What writes results: files of each trial, and trackers of experiments."""

from __future__ import annotations

import importlib
from typing import Any

from narke.tune.logger.csv import CSVLoggerCallback
from narke.tune.logger.json import JsonLoggerCallback
from narke.tune.logger.logger import LoggerCallback, pretty_print
from narke.tune.logger.tensorboardx import TBXLoggerCallback

# Of older programs.
_LEGACY = (
    "DEFAULT_LOGGERS CSVLogger JsonLogger LegacyLoggerCallback Logger NoopLogger TBXLogger UnifiedLogger"
).split()
__all__ = [
    "CSVLoggerCallback",
    "JsonLoggerCallback",
    "LoggerCallback",
    "TBXLoggerCallback",
    "pretty_print",
    *_LEGACY,
]


def __getattr__(name: str) -> Any:
    if name in _LEGACY:
        value = getattr(importlib.import_module("narke.tune.logger._legacy"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"narke.tune.logger has no {name!r}")
