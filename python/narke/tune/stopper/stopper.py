"""`Stopper`: decides when trials, or all of them, end."""

from __future__ import annotations

import abc
from typing import Any

__all__ = ["CombinedStopper", "Stopper"]


class Stopper(abc.ABC):
    """Asked after each result; the base of all stoppers, also of users' own."""

    @abc.abstractmethod
    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether the trial ends.

        Args:
            trial_id: of the trial.
            result: its result; nested values under keys "a/b".
        """
        raise NotImplementedError

    @abc.abstractmethod
    def stop_all(self) -> bool:
        """Return whether the whole experiment ends."""
        raise NotImplementedError


class CombinedStopper(Stopper):
    """Ends what any of several stoppers ends.

    Args:
        stoppers: they; all see each result.
    """

    def __init__(self, *stoppers: Stopper) -> None:
        self._stoppers = stoppers

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        answers = [stopper(trial_id, result) for stopper in self._stoppers]
        return any(answers)

    def stop_all(self) -> bool:
        """Whether one of them ends the experiment."""
        return any(stopper.stop_all() for stopper in self._stoppers)
