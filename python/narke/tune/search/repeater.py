"""`Repeater`: runs each suggestion several times and learns from the mean."""

from __future__ import annotations

import copy
from typing import Any

from narke.tune.search._wrapping import WrappingSearcher
from narke.tune.search.searcher import Searcher

__all__ = ["TRIAL_INDEX", "Repeater"]

TRIAL_INDEX = "__trial_index__"


class _Group:
    """The trials of one suggestion."""

    def __init__(self, primary: str, config: dict[str, Any], size: int) -> None:
        self.primary = primary
        self.config = config
        self.size = size
        self.scores: dict[str, Any] = {primary: None}
        self.ended: set[str] = set()

    def is_full(self) -> bool:
        return len(self.scores) >= self.size

    def is_over(self) -> bool:
        return len(self.ended) >= self.size

    def mean(self) -> float | None:
        known = [score for score in self.scores.values() if score is not None]
        return sum(known) / len(known) if known else None


class Repeater(WrappingSearcher):
    """Repeats each configuration of a searcher, to average out noise.

    Args:
        searcher: the searcher; not limited by a `ConcurrencyLimiter` inside, which would count repetitions.
        repeat: how often each configuration runs.
        set_index: put the number of the repetition into the configuration, as ``__trial_index__``.
    """

    def __init__(self, searcher: Searcher, repeat: int = 1, set_index: bool = True) -> None:
        if repeat < 1:
            raise ValueError(f"repeat must be at least 1, not {repeat}")
        self.repeat = repeat
        self._set_index = set_index
        self._groups: dict[str, _Group] = {}
        self._open: _Group | None = None
        super().__init__(searcher)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the open group's configuration, else a new one of the searcher."""
        if self._open is None or self._open.is_full():
            config = self.searcher.suggest(trial_id)
            if not isinstance(config, dict):
                return config
            self._open = _Group(trial_id, config, self.repeat)
        self._open.scores[trial_id] = None
        self._groups[trial_id] = self._open
        config = copy.copy(self._open.config)
        if self._set_index:
            config[TRIAL_INDEX] = len(self._open.scores) - 1
        return config

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, **kwargs: Any) -> None:  # type: ignore[override]
        """Note the trial's score; the searcher learns the mean when all repetitions have ended."""
        group = self._groups.pop(trial_id, None)
        if group is None:
            return
        metric = self.searcher.metric
        if result and isinstance(metric, str):
            group.scores[trial_id] = result.get(metric)
        group.ended.add(trial_id)
        if not group.is_over():
            return
        mean = group.mean()
        summary = None if mean is None else {**(result or {}), metric: mean}  # type: ignore[dict-item, misc]
        self.searcher.on_trial_complete(group.primary, result=summary, error=mean is None)
