"""Counters and timers that the stages of an iterator share."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from narke.util.annotations import Deprecated
from narke.util.timer import _Timer

__all__ = ["MetricsContext", "SharedMetrics"]


@Deprecated
class MetricsContext:
    """What the functions of an iterator record: ``counters``, ``timers``, ``info`` and ``current_actor``."""

    def __init__(self) -> None:
        self.counters: defaultdict[str, int] = defaultdict(int)
        self.timers: defaultdict[str, _Timer] = defaultdict(_Timer)
        self.info: dict[str, Any] = {}
        self.current_actor: Any = None

    def save(self) -> dict[str, Any]:
        """Return what `restore` takes: counters, info and timers."""
        return {"counters": dict(self.counters), "info": dict(self.info), "timers": dict(self.timers)}

    def restore(self, values: dict[str, Any]) -> None:
        """Take over what `save` returned."""
        self.counters.clear()
        self.counters.update(values["counters"])
        self.timers.clear()
        self.timers.update(values["timers"])
        self.info = values["info"]


@Deprecated
class SharedMetrics:
    """A slot for one metrics context that an iterator and the iterators it reads from have in common.

    Args:
        metrics: the context; None for a new one.
        parents: slots that follow when another context is set.
    """

    def __init__(
        self, metrics: MetricsContext | None = None, parents: list[SharedMetrics] | None = None
    ) -> None:
        self.metrics = metrics or MetricsContext()
        self.parents = parents or []
        self.set(self.metrics)

    def set(self, metrics: MetricsContext) -> None:
        """Use another context, here and in all parents."""
        self.metrics = metrics
        for parent in self.parents:
            parent.set(metrics)

    def get(self) -> MetricsContext:
        """Return the context."""
        return self.metrics
