"""`TrialsView`: what callbacks get as the list of all trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from narke.tune.experiment.trial import Trial

__all__ = ["TrialsView"]


class TrialsView(list):
    """All trials as a list that is made only when somebody looks at it.

    Args:
        trials: by identifier.
    """

    def __init__(self, trials: dict[str, Trial]) -> None:
        super().__init__()
        self._trials: dict[str, Trial] | None = trials

    def _fill(self) -> None:
        if self._trials is not None:
            trials, self._trials = self._trials, None
            self.extend(trials.values())

    def __iter__(self) -> Any:
        self._fill()
        return super().__iter__()

    def __len__(self) -> int:
        return len(self._trials) if self._trials is not None else super().__len__()

    def __bool__(self) -> bool:
        return len(self) > 0

    def __getitem__(self, item: Any) -> Any:
        self._fill()
        return super().__getitem__(item)

    def __contains__(self, item: Any) -> bool:
        self._fill()
        return super().__contains__(item)

    def __eq__(self, other: object) -> bool:
        self._fill()
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        self._fill()
        return super().__repr__()
