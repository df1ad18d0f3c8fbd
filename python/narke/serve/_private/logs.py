"""Logging of replicas: to a file in the session's logs, with the names of replica and request in each line."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from typing import Any

from narke.serve._private.common import ReplicaID

__all__ = ["AccessLog", "configure"]

LOGGER_NAME = "ray.serve"
_MOST_BYTES = 100 << 20
_WRITE_EVERY_S = 0.5


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
    """A line for each request, in the replica's file; written twice a second, off the requests' way."""

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
        self._held.append(
            (time.time(), request_id, method, path, status, (time.perf_counter() - began) * 1e3)
        )
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_WRITE_EVERY_S, self.write)

    def write(self) -> None:
        """Write what has gathered."""
        self._timer = None
        held, self._held = self._held, []
        formatter = self._handler.formatter
        assert formatter is not None
        for stamp, request_id, method, path, status, ms in held:
            record = logging.makeLogRecord(
                {"created": stamp, "msecs": stamp % 1 * 1000, "levelname": "INFO", "levelno": logging.INFO}
            )
            record.msg = f"{method} {path} {status} {ms:.1f}ms"
            record.serve_access_log = True
            record.serve_request_id = request_id
            self._handler.handle(record)


def _request_id(record: logging.LogRecord) -> str:
    from narke.serve.context import request_context

    return getattr(record, "serve_request_id", "") or request_context.get().request_id


class _Text(logging.Formatter):
    def __init__(self, replica: ReplicaID, attributes: list[str]) -> None:
        super().__init__()
        name = replica.deployment_id
        self._prefix = f"{name.app_name}_{name.name} {replica.unique_id}"
        self._attributes = attributes

    def format(self, record: logging.LogRecord) -> str:
        request_id = _request_id(record) or "-"
        extra = "".join(f" {name}={getattr(record, name, '')}" for name in self._attributes)
        stamp = self.formatTime(record)
        access = getattr(record, "serve_access_log", False)
        where = "--" if access else f"{record.filename}:{record.lineno} --"
        line = f"{record.levelname} {stamp} {self._prefix} {request_id} {where} {record.getMessage()}{extra}"
        return line + "\n" + self.formatException(record.exc_info) if record.exc_info else line


class _Json(logging.Formatter):
    def __init__(self, replica: ReplicaID, attributes: list[str]) -> None:
        super().__init__()
        self._replica = replica
        self._attributes = attributes

    def format(self, record: logging.LogRecord) -> str:
        from narke.serve.context import request_context

        request = request_context.get()
        name = self._replica.deployment_id
        fields: dict[str, Any] = {
            "asctime": self.formatTime(record),
            "levelname": record.levelname,
            "message": record.getMessage(),
            "filename": record.filename,
            "lineno": record.lineno,
            "deployment": name.name,
            "application": name.app_name,
            "replica": self._replica.unique_id,
            "component_name": "replica",
            "request_id": _request_id(record),
            "route": request.route,
        }
        fields.update({each: getattr(record, each, None) for each in self._attributes})
        if record.exc_info:
            fields["exc_text"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)
