"""`ExperimentPlateauStopper`: the best results no longer change."""

from __future__ import annotations

import statistics
from typing import Any

from narke.tune.stopper.stopper import Stopper

__all__ = ["ExperimentPlateauStopper"]


class ExperimentPlateauStopper(Stopper):
    """Ends the experiment when the best values of a metric lie close together.

    Args:
        metric: the metric.
        std: the greatest standard deviation of a plateau.
        top: how many of the best values count.
        mode: "min" or "max".
        patience: results for which the plateau must last.

    Raises:
        ValueError: a value is out of its range.
    """

    def __init__(
        self, metric: str, std: float = 0.001, top: int = 10, mode: str = "min", patience: int = 0
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"The mode parameter can only be either min or max, not {mode!r}")
        if not isinstance(top, int) or top <= 1:
            raise ValueError(
                f"Top results to consider must be a positive integer greater than one, not {top!r}"
            )
        if not isinstance(patience, int) or patience < 0:
            raise ValueError(f"Patience must be a strictly positive integer or 0, not {patience!r}")
        if not isinstance(std, float) or std <= 0:
            raise ValueError(f"The standard deviation must be a strictly positive float number, not {std!r}")
        self._mode = mode
        self._metric = metric
        self._patience = patience
        self._std = std
        self._top = top
        self._iterations = 0
        self._should_stop = False
        self._top_values: list[float] = []

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self._top_values.append(result[self._metric])
        self._top_values.sort(reverse=self._mode == "max")
        del self._top_values[self._top :]
        self._iterations = self._iterations + 1 if self.has_plateaued() else 0
        self._should_stop = self.has_plateaued() and self._iterations >= self._patience
        return self._should_stop

    def has_plateaued(self) -> bool:
        """Whether the best values lie close together."""
        return len(self._top_values) == self._top and statistics.pstdev(self._top_values) <= self._std

    def stop_all(self) -> bool:
        """Whether the plateau has lasted long enough."""
        return self._should_stop
