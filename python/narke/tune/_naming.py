"""Names that carry the time."""

from __future__ import annotations

import os
import time

__all__ = ["dated", "dirname_stamp", "is_dated"]


def dirname_stamp(when_s: float) -> str:
    """A time (seconds since the epoch) as it stands in names of files: local, to the second."""
    return time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(when_s))


def is_dated() -> bool:
    """Whether folders of experiments without a name carry the time; TUNE_DISABLE_DATED_SUBDIR=1 leaves it out."""
    return os.environ.get("TUNE_DISABLE_DATED_SUBDIR", "0") != "1"


def dated(name: str) -> str:
    """The name of the folder of an experiment that was given none.

    Args:
        name: that of its trainable.
    """
    return f"{name}_{dirname_stamp(time.time())}" if is_dated() else name
