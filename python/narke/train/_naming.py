"""Names of runs."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

__all__ = ["run_name", "timestamp", "trainable_name", "unique"]


def trainable_name(trainable: Any) -> str:
    """What a trainable is called: its name if it is a string, else its class's or function's."""
    if isinstance(trainable, str):
        return trainable
    inner = getattr(trainable, "func", trainable)  # a functools.partial
    return getattr(trainable, "_name", None) or getattr(inner, "__name__", None) or type(inner).__name__


def timestamp() -> str:
    """The local time as it stands in names of experiments."""
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}"


def run_name() -> str:
    """A name for a run that was given none; no two are equal."""
    return unique("ray_train_run-")


def unique(start: str) -> str:
    """A name of a run: a beginning, the time, and what tells it from another run of the same second."""
    return f"{start}{timestamp()}_{secrets.token_hex(2)}"
