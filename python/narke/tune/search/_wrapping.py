"""What searchers around another searcher share."""

from __future__ import annotations

from typing import Any

from narke.tune.search.searcher import Searcher

__all__ = ["WrappingSearcher"]


class WrappingSearcher(Searcher):
    """A searcher around another one, whose space, aim and state are the inner one's.

    Args:
        searcher: the inner one.
    """

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher
        super().__init__(metric=searcher.metric, mode=searcher.mode)

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Pass on to the searcher."""
        self._metric, self._mode = metric or self._metric, mode or self._mode
        return self.searcher.set_search_properties(metric, mode, config, **spec)

    def get_state(self) -> dict[str, Any]:
        """Return this wrapper's own state."""
        return {name: value for name, value in vars(self).items() if name != "searcher"}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take a state of `get_state`."""
        vars(self).update(state)

    def save(self, checkpoint_path: str) -> None:
        """Write the searcher's state."""
        self.searcher.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """Restore the searcher's state."""
        self.searcher.restore(checkpoint_path)
