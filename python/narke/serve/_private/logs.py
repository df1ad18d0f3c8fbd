"""Logging of replicas: to a file in the session's logs, with the names of replica and request in each line."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from narke.serve._private.common import ReplicaID

__all__ = ["configure"]

LOGGER_NAME = "ray.serve"
_MOST_BYTES = 100 << 20


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
    if not config.get("enable_access_log", True):
        handler.addFilter(lambda record: not getattr(record, "serve_access_log", False))
    return os.path.relpath(path, logs) if not config.get("logs_dir") else path


class _Text(logging.Formatter):
    def __init__(self, replica: ReplicaID, attributes: list[str]) -> None:
        super().__init__()
        name = replica.deployment_id
        self._prefix = f"{name.app_name}_{name.name} {replica.unique_id}"
        self._attributes = attributes

    def format(self, record: logging.LogRecord) -> str:
        from narke.serve.context import request_context

        request_id = request_context.get().request_id or "-"
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
            "request_id": request.request_id,
            "route": request.route,
        }
        fields.update({each: getattr(record, each, None) for each in self._attributes})
        if record.exc_info:
            fields["exc_text"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)
