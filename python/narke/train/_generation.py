"""Which generation of Train's interface a program is written for."""

from __future__ import annotations

import os

__all__ = ["is_second"]


def is_second() -> bool:
    """Whether ``narke.train`` shows the second generation; RAY_TRAIN_V2_ENABLED=0 asks for the first.

    Both run on the same engine; they differ in classes of configurations, in the layout of results and in what is
    filled in beside reported metrics.
    """
    return os.environ.get("RAY_TRAIN_V2_ENABLED", "1").lower() not in ("0", "false")
