"""Which checkpoints of a run are kept; pure."""

from __future__ import annotations

import math
from typing import Any

from narke.train._snapshot import Entry

__all__ = ["Book"]


class Book:
    """The complete checkpoints of a run, worst first.

    Args:
        num_to_keep: how many stay besides the latest; None keeps all.
        attribute: metric to compare; None compares by age.
        order: "max" or "min".
        entries: of an earlier attempt, worst first.
        latest: of an earlier attempt.
    """

    def __init__(
        self,
        num_to_keep: int | None = None,
        attribute: str | None = None,
        order: str = "max",
        entries: list[Entry] | None = None,
        latest: Entry | None = None,
    ) -> None:
        self._keep, self._attribute, self._order = num_to_keep, attribute, order
        self.entries = list(entries or [])
        self.latest = latest

    def add(self, entry: Entry) -> list[Entry]:
        """A checkpoint is complete.

        Args:
            entry: the newest.

        Returns:
            those that are not kept any more.
        """
        self.latest = entry
        self.entries.append(entry)
        return self.sort()

    def sort(self) -> list[Entry]:
        """Put the entries into their order again, after metrics changed.

        Returns:
            those that are not kept any more.
        """
        self.entries.sort(key=self._rank)
        if self._keep is None:
            return []
        surplus = [each for each in self.entries[: -self._keep] if each is not self.latest]
        dropped = {id(each) for each in surplus}
        self.entries = [each for each in self.entries if id(each) not in dropped]
        return surplus

    def _rank(self, entry: Entry) -> tuple[float, int]:
        return (self._score(entry.metrics), entry.index)

    def _score(self, metrics: dict[str, Any]) -> float:
        """Greater is better; a metric that is missing or not a number is the worst."""
        if self._attribute is None:
            return 0.0
        value: Any = metrics.get(self._attribute)
        if value is None and "/" in self._attribute:
            value = metrics
            for part in self._attribute.split("/"):
                value = value.get(part) if isinstance(value, dict) else None
        try:
            number = float(value)
        except (TypeError, ValueError):
            return -math.inf
        if math.isnan(number):
            return -math.inf
        return number if self._order == "max" else -number
