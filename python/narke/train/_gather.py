"""Putting the reports of all ranks together; pure.

Every rank counts its reports from the same number. A report of the run is complete when each rank that is still
training has given its own and all files that belong to it are stored. Reports become complete in their order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["CompleteReport", "Gather", "Part"]


@dataclass
class Part:
    """What one rank gave to a report.

    Args:
        metrics: as reported.
        checkpoint: folder name of its checkpoint, or None.
        stored: whether its files are in the storage.
        path: where they are, if not in the run's folder.
        validation: what the checkpoint's validation is called with; False for none.
    """

    metrics: dict[str, Any]
    checkpoint: str | None = None
    stored: bool = True
    path: str | None = None
    validation: Any = False


@dataclass
class CompleteReport:
    """A report of the run.

    Args:
        index: counted over all attempts.
        parts: by rank.
    """

    index: int
    parts: dict[int, Part] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, Any]:
        """Those of the lowest rank that reported."""
        return self.parts[min(self.parts)].metrics

    @property
    def checkpoint(self) -> Part | None:
        """The part with the checkpoint, of the lowest rank that gave one."""
        for rank in sorted(self.parts):
            if self.parts[rank].checkpoint is not None:
                return self.parts[rank]
        return None


class Gather:
    """The reports of one attempt.

    Args:
        world_size: number of ranks.
        first: index of the next report of the run.
    """

    def __init__(self, world_size: int, first: int) -> None:
        self.next = first
        self._open: dict[int, CompleteReport] = {}
        self._training = set(range(world_size))
        self._reached = dict.fromkeys(range(world_size), first)

    def report(self, rank: int, index: int, part: Part) -> list[CompleteReport]:
        """A rank has reported.

        Returns:
            reports that are complete now.
        """
        self._open.setdefault(index, CompleteReport(index)).parts[rank] = part
        self._reached[rank] = index + 1
        return self._complete()

    def stored(self, rank: int, index: int) -> list[CompleteReport]:
        """The files of a rank's report are in the storage now.

        Returns:
            reports that are complete now.
        """
        self._open[index].parts[rank].stored = True
        return self._complete()

    def ended(self, rank: int) -> list[CompleteReport]:
        """A rank has ended its training function.

        Returns:
            reports that are complete now.
        """
        self._training.discard(rank)
        return self._complete()

    def _complete(self) -> list[CompleteReport]:
        done = []
        while self.next in self._open and self._is_complete(self._open[self.next]):
            done.append(self._open.pop(self.next))
            self.next += 1
        return done

    def _is_complete(self, report: CompleteReport) -> bool:
        missing = [rank for rank in self._training if self._reached[rank] <= report.index]
        return not missing and all(part.stored for part in report.parts.values())
