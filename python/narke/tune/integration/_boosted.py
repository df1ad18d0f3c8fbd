"""What the callbacks of trials for the libraries of boosted trees share."""

from __future__ import annotations

from typing import Any

__all__ = ["WithoutCheckpoints"]


class WithoutCheckpoints:
    """Mixed in front of a callback that reports: it reports metrics only.

    Args:
        args, kwargs: metrics, results_postprocessing_fn.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names = ("metrics", "results_postprocessing_fn")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        super().__init__(**{**given, "frequency": 0, "checkpoint_at_end": False})
