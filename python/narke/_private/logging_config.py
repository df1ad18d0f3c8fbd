"""`LoggingConfig`: how Python's logging is set up in the driver and in workers."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["LoggingConfig"]

_STANDARD = (
    "args asctime created exc_info exc_text filename funcName levelname levelno lineno message module msecs msg name "
    "pathname process processName relativeCreated stack_info taskName thread threadName"
).split()
_ENCODINGS = ("TEXT", "JSON")


@dataclass
class LoggingConfig:
    """How log records look.

    Args:
        encoding: ``"TEXT"`` or ``"JSON"``, one object a line.
        log_level: name of the lowest level that is shown.
        additional_log_standard_attrs: further standard attributes of records to show, such as ``"name"``.

    Raises:
        ValueError: the encoding or an attribute is unknown.
    """

    encoding: str = "TEXT"
    log_level: str = "INFO"
    additional_log_standard_attrs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.encoding not in _ENCODINGS:
            raise ValueError(
                f"Invalid encoding type: {self.encoding}. Valid encoding types are: {list(_ENCODINGS)}"
            )
        for name in self.additional_log_standard_attrs:
            if name not in _STANDARD:
                raise ValueError(f"Unknown python logging standard attribute {name!r}; there are {_STANDARD}")

    def to_dict(self) -> dict[str, Any]:
        """The configuration as a dict that `from_dict` reads."""
        return asdict(self)

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> LoggingConfig:
        """The configuration that `to_dict` gave."""
        return cls(**d)

    def _apply(self) -> None:
        """Set up the root logger of this process."""
        handler = logging.StreamHandler()
        formatter: logging.Formatter = _Json(self) if self.encoding == "JSON" else _Text(self)
        handler.setFormatter(formatter)
        root = logging.getLogger()
        root.setLevel(self.log_level)
        root.handlers[:] = [handler]
        narke = logging.getLogger("narke")
        narke.handlers.clear()
        narke.propagate = True
        narke.setLevel(self.log_level)


def _ids() -> dict[str, str]:
    """The ids of what runs now, by name."""
    from narke._private import session

    here = session.current()
    if here is None:
        return {}
    now = session.native().current()
    names = ("job_id", "worker_id", "node_id", "actor_id", "task_id")
    found = {name: now[name].hex() for name in names if now.get(name)}
    for name, key in (
        ("actor_name", "actor_name"),
        ("task_name", "task_name"),
        ("task_func_name", "function_name"),
    ):
        if now.get(key):
            found[name] = now[key]
    return found


class _Json(logging.Formatter):
    def __init__(self, config: LoggingConfig) -> None:
        super().__init__()
        self._more = config.additional_log_standard_attrs

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        fields: dict[str, Any] = {
            "asctime": f"{when},{int(record.msecs):03d}",
            "levelname": record.levelname,
            "message": record.getMessage(),
            "filename": record.filename,
            "lineno": record.lineno,
            "process": record.process,
            **_ids(),
            **{name: getattr(record, name, None) for name in self._more},
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
            "timestamp_ns": int(record.created * 1e9),
        }
        if record.exc_info:
            fields["exc_text"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class _Text(logging.Formatter):
    def __init__(self, config: LoggingConfig) -> None:
        super().__init__("%(asctime)s\t%(levelname)s %(filename)s:%(lineno)s -- %(message)s")
        self._more = config.additional_log_standard_attrs

    def format(self, record: logging.LogRecord) -> str:
        more = {**_ids(), **{name: getattr(record, name, None) for name in self._more}}
        return super().format(record) + "".join(f" {name}={value}" for name, value in more.items())
