"""What writes results: files of each trial, and trackers of experiments."""

from __future__ import annotations

from narke._private.lazy_names import lazy_names
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

__getattr__ = lazy_names(__name__, dict.fromkeys(_LEGACY, "_legacy"))
