"""Names of runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

__all__ = ["run_name", "timestamp", "trainable_name"]


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
    """A name for a run that was given none."""
    return f"ray_train_run-{timestamp()}"
