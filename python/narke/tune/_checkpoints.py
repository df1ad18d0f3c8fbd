"""Which of a trial's checkpoints are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from narke.tune.search.util import flattened

if TYPE_CHECKING:
    from narke.air.config import CheckpointConfig
    from narke.train._checkpoint import Checkpoint

__all__ = ["CheckpointList", "TrainingResult"]


@dataclass
class TrainingResult:
    """A checkpoint in the storage with the metrics reported beside it.

    Args:
        checkpoint: None for metrics alone.
        metrics: they.
        pins: how many trials are about to begin from it; it is not deleted while there are some.
    """

    checkpoint: Checkpoint | None
    metrics: dict[str, Any] = field(default_factory=dict)
    pins: int = field(default=0, compare=False, repr=False)


class CheckpointList:
    """The checkpoints of one trial in the order they were made; says which to delete.

    The latest is always kept: a trial may have to go on from it.

    Args:
        config: how many to keep, and by what score; None keeps all.
    """

    def __init__(self, config: CheckpointConfig | None) -> None:
        self.config = config
        self.results: list[TrainingResult] = []
        self.latest: TrainingResult | None = None

    def add(self, result: TrainingResult) -> list[TrainingResult]:
        """Take a new checkpoint, or one that is here already again; returns those that are to be deleted."""
        known = next((each for each in self.results if _is_same(each, result)), None)
        if known is not None:  # a function that is paused hands over what it reported last
            known.metrics = result.metrics
            self.latest = known
            return []
        self.latest = result
        self.results.append(result)
        keep = self.config.num_to_keep if self.config is not None else None
        if keep is None or len(self.results) <= keep:
            return []
        ranked = sorted(self.results, key=self._score, reverse=True)
        kept = ranked[:keep]
        needed = {id(each) for each in self.results if each in kept or each is self.latest or each.pins}
        dropped = [each for each in self.results if id(each) not in needed]
        self.results = [each for each in self.results if id(each) in needed]
        return dropped

    def best(self) -> list[TrainingResult]:
        """The kept checkpoints, worst first as their score says; without a score in the order they were made."""
        attribute = self.config.checkpoint_score_attribute if self.config is not None else None
        return sorted(self.results, key=self._score) if attribute else list(self.results)

    def _score(self, result: TrainingResult) -> tuple[bool, float, int]:
        place = self.results.index(result)
        attribute = self.config.checkpoint_score_attribute if self.config is not None else None
        if attribute is None:
            return True, 0.0, place
        value = flattened(result.metrics).get(attribute)
        if not isinstance(value, (int, float)) or math.isnan(value):
            return False, 0.0, place
        assert self.config is not None
        return True, value if self.config.checkpoint_score_order == "max" else -value, place


def _is_same(one: TrainingResult, other: TrainingResult) -> bool:
    """Whether the files of two are the same."""
    if one.checkpoint is None or other.checkpoint is None:
        return one is other
    return one.checkpoint.path == other.checkpoint.path
