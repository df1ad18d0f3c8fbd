"""`ConcurrencyLimiter`: lets a searcher suggest only while fewer than a number of its trials run."""

from __future__ import annotations

import logging
from typing import Any

from narke.tune.search._wrapping import WrappingSearcher
from narke.tune.search.searcher import Searcher

__all__ = ["ConcurrencyLimiter"]

logger = logging.getLogger(__name__)


class ConcurrencyLimiter(WrappingSearcher):
    """Wraps a searcher and limits how many of its trials are under way.

    Args:
        searcher: the searcher.
        max_concurrent: how many.
        batch: hand results on, and start new trials, only when all trials of a batch have ended.
    """

    def __init__(self, searcher: Searcher, max_concurrent: int, batch: bool = False) -> None:
        if not isinstance(max_concurrent, int) or max_concurrent <= 0:
            raise ValueError(f"max_concurrent must be a whole number above 0, not {max_concurrent!r}")
        self.max_concurrent = max_concurrent
        self.batch = batch
        self.live_trials: set[str] = set()
        self.num_unfinished_live_trials = 0
        self.cached_results: dict[str, tuple[dict[str, Any] | None, bool]] = {}
        self._limit_concurrency = True
        super().__init__(searcher)
        if searcher.set_max_concurrency(max_concurrent):
            # It heeds the limit itself; this only passes calls on.
            self._limit_concurrency = False

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Change the limit."""
        self.max_concurrent = max_concurrent
        return self.searcher.set_max_concurrency(max_concurrent) or True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the searcher's suggestion; None while enough trials are under way."""
        if not self._limit_concurrency:
            return self.searcher.suggest(trial_id)
        if trial_id in self.live_trials:
            raise ValueError(f"trial {trial_id} has a configuration already")
        if len(self.live_trials) >= self.max_concurrent:
            return None
        suggestion = self.searcher.suggest(trial_id)
        if suggestion not in (None, Searcher.FINISHED):
            self.live_trials.add(trial_id)
            self.num_unfinished_live_trials += 1
        return suggestion

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass on, in batches if asked for."""
        if not self._limit_concurrency:
            self.searcher.on_trial_complete(trial_id, result=result, error=error)
            return
        if trial_id not in self.live_trials or trial_id in self.cached_results:
            return
        self.num_unfinished_live_trials -= 1
        if not self.batch:
            self.searcher.on_trial_complete(trial_id, result=result, error=error)
            self.live_trials.discard(trial_id)
            return
        self.cached_results[trial_id] = (result, error)
        if self.num_unfinished_live_trials <= 0:
            for name, (cached, failed) in self.cached_results.items():
                self.searcher.on_trial_complete(name, result=cached, error=failed)
                self.live_trials.discard(name)
            self.cached_results = {}
            self.num_unfinished_live_trials = 0

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass on."""
        self.searcher.on_trial_result(trial_id, result)

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: float,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Pass on."""
        self.searcher.add_evaluated_point(parameters, value, error, pruned, intermediate_values)

    def restore(self, checkpoint_path: str) -> None:
        """Restore the searcher's state; no trial of the time before counts as under way."""
        super().restore(checkpoint_path)
        self.live_trials.clear()
        self.cached_results = {}
        self.num_unfinished_live_trials = 0

    def on_pause(self, trial_id: str) -> None:
        """Pass on."""
        self.searcher.on_pause(trial_id)

    def on_unpause(self, trial_id: str) -> None:
        """Pass on."""
        self.searcher.on_unpause(trial_id)
