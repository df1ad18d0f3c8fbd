"""Stands for ``ray._private.ray_constants``: values from the environment, ports, names of variables and resources."""

from __future__ import annotations

import os

__all__ = ["env_bool", "env_float", "env_integer", "env_set_by_user"]

RAY_ADDRESS_ENVIRONMENT_VARIABLE = "RAY_ADDRESS"
RAY_NAMESPACE_ENVIRONMENT_VARIABLE = "RAY_NAMESPACE"
RAY_RUNTIME_ENV_ENVIRONMENT_VARIABLE = "RAY_RUNTIME_ENV"
RAY_JOB_SUBMISSION_ID_ENV_VAR = "RAY_JOB_SUBMISSION_ID"
DEFAULT_PORT = 6379
DEFAULT_DASHBOARD_IP = "127.0.0.1"
DEFAULT_DASHBOARD_PORT = 8265
DEFAULT_MAX_CONCURRENCY_ASYNC = 1000
ID_SIZE = 28
LOGGER_LEVEL = "info"
LOGGER_LEVEL_CHOICES = ["debug", "info", "warning", "error", "critical"]
NODE_ID_PREFIX = "node:"
RESOURCE_CONSTRAINT_PREFIX = "accelerator_type:"


def env_integer(key: str, default: int) -> int:
    """A whole number from a variable; `default` where it is not set or no whole number."""
    value = os.environ.get(key, "").strip()
    return int(value) if value.removeprefix("-").isdigit() else default


def env_float(key: str, default: float) -> float:
    """A number from a variable; `default` where it is not set or no number."""
    try:
        return float(os.environ[key])
    except (KeyError, ValueError):
        return default


def env_bool(key: str, default: bool) -> bool:
    """Whether a variable says true or 1; `default` where it is not set."""
    value = os.environ.get(key)
    return default if value is None else value.strip().lower() in ("true", "1")


def env_set_by_user(key: str) -> bool:
    """Whether the variable is set."""
    return key in os.environ
