"""Logging of replicas: to a file in the session's logs, with the names of replica and request in each line."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from narke.serve._private.common import ReplicaID

__all__ = ["AccessLog", "configure"]

LOGGER_NAME = "ray.serve"
_MOST_BYTES = 100 << 20
_WRITE_EVERY_S = 0.1


def configure(replica: ReplicaID, config: dict[str, Any] | None) -> str:
    """Send the logger "ray.serve" of this process to the replica's file.

    Args:
        replica: this process's.
        config: fields of `narke.serve.schema.LoggingConfig`; None: its defaults.

    Returns:
        the file's path below the session's logs folder, or as it is when elsewhere.
    """
    from logging.handlers import RotatingFileHandler

    import narke

    config = config or {}
    logs = os.path.join(narke._private.session.connected().info["session_dir"], "logs")
    folder = config.get("logs_dir") or os.path.join(logs, "serve")
    os.makedirs(folder, exist_ok=True)
    name = replica.deployment_id
    path = os.path.join(folder, f"replica_{name.app_name}_{name.name}_{replica.unique_id}.log")
    handler = RotatingFileHandler(path, maxBytes=_MOST_BYTES, backupCount=5, delay=True)
    is_json = str(getattr(config.get("encoding"), "value", config.get("encoding") or "TEXT")) == "JSON"
    attributes = config.get("additional_log_standard_attrs") or []
    handler.setFormatter(_Json(replica, attributes) if is_json else _Text(replica, attributes))
    logger = logging.getLogger(LOGGER_NAME)
    for old in list(logger.handlers):
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(config.get("log_level") or "INFO")
    logger.propagate = False
    return os.path.relpath(path, logs) if not config.get("logs_dir") else path


class AccessLog:
    """A line for each request, in the replica's file; they leave together, off the requests' way."""

    def __init__(self, config: dict[str, Any] | None) -> None:
        logger = logging.getLogger(LOGGER_NAME)
        self._handler = logger.handlers[0]
        self.is_on = (config or {}).get("enable_access_log", True) and logger.isEnabledFor(logging.INFO)
        self._held: list[tuple[Any, ...]] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, request_id: str, method: str, path: str, status: Any, began: float) -> None:
        """One request has ended; `began` is its `time.perf_counter`."""
        if not self.is_on:
            return
        self._held.append((time.perf_counter(), request_id, method, path, status, began))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_WRITE_EVERY_S, self.write)

    def write(self) -> None:
        """Write what has gathered, as one record."""
        self._timer = None
        held, self._held = self._held, []
        if not held:
            return
        formatter: Any = self._handler.formatter
        since = time.time() - time.perf_counter()
        record = logging.makeLogRecord({"levelname": "INFO", "levelno": logging.INFO})
        lines = formatter.access_lines(
            record,
            (
                (since + ended, request_id, f"{method} {path} {status} {(ended - began) * 1e3:.1f}ms")
                for ended, request_id, method, path, status, began in held
            ),
        )
        record.serve_lines = "\n".join(lines)
        self._handler.handle(record)


def _request_id() -> str:
    from narke.serve.context import request_context

    return request_context.get().request_id


class _Stamps:
    """Times as `logging` writes them; the part down to the second is made once for each."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._formatter = formatter
        self._second = -1
        self._text = ""

    def of(self, seconds: float) -> str:
        whole = int(seconds)
        if whole != self._second:
            self._second = whole
            self._text = time.strftime(self._formatter.default_time_format, self._formatter.converter(whole))
        return f"{self._text},{int(seconds % 1 * 1000):03d}"


class _Text(logging.Formatter):
    def __init__(self, replica: ReplicaID, attributes: list[str]) -> None:
        super().__init__()
        name = replica.deployment_id
        self._prefix = f"{name.app_name}_{name.name} {replica.unique_id}"
        self._attributes = attributes
        self._stamps = _Stamps(self)

    def _extra(self, record: logging.LogRecord) -> str:
        return "".join(f" {name}={getattr(record, name, '')}" for name in self._attributes)

    def access_lines(
        self, record: logging.LogRecord, requests: Iterable[tuple[float, str, str]]
    ) -> Iterator[str]:
        """A line for each (time, request id, text) of requests that ended; `record` has what they share."""
        extra, stamp = self._extra(record), self._stamps.of
        for seconds, request_id, text in requests:
            yield f"INFO {stamp(seconds)} {self._prefix} {request_id or '-'} -- {text}{extra}"

    def format(self, record: logging.LogRecord) -> str:
        if (lines := getattr(record, "serve_lines", None)) is not None:
            return str(lines)
        stamp, where = self.formatTime(record), f"{record.filename}:{record.lineno} --"
        text = f"{record.getMessage()}{self._extra(record)}"
        line = f"{record.levelname} {stamp} {self._prefix} {_request_id() or '-'} {where} {text}"
        return line + "\n" + self.formatException(record.exc_info) if record.exc_info else line


class _Json(logging.Formatter):
    def __init__(self, replica: ReplicaID, attributes: list[str]) -> None:
        super().__init__()
        name = replica.deployment_id
        self._attributes = attributes
        self._stamps = _Stamps(self)
        self._here = {
            "deployment": name.name,
            "application": name.app_name,
            "replica": replica.unique_id,
            "component_name": "replica",
        }

    def _line(self, record: logging.LogRecord, stamp: str, text: str, request_id: str) -> dict[str, Any]:
        return {
            "asctime": stamp,
            "levelname": record.levelname,
            "message": text,
            "filename": record.filename,
            "lineno": record.lineno,
            **self._here,
            "request_id": request_id,
            **{each: getattr(record, each, None) for each in self._attributes},
        }

    def access_lines(
        self, record: logging.LogRecord, requests: Iterable[tuple[float, str, str]]
    ) -> Iterator[str]:
        """As that of `_Text`."""
        for seconds, request_id, text in requests:
            yield json.dumps(self._line(record, self._stamps.of(seconds), text, request_id), default=str)

    def format(self, record: logging.LogRecord) -> str:
        from narke.serve.context import request_context

        if (lines := getattr(record, "serve_lines", None)) is not None:
            return str(lines)
        fields = self._line(record, self.formatTime(record), record.getMessage(), _request_id())
        fields["route"] = request_context.get().route
        if record.exc_info:
            fields["exc_text"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)
