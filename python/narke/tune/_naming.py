"""Names that carry the time."""

from __future__ import annotations

import time

__all__ = ["dirname_stamp"]


def dirname_stamp(when_s: float) -> str:
    """A time (seconds since the epoch) as it stands in names of files: local, to the second."""
    return time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(when_s))
