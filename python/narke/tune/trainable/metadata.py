"""What became of a trial so far: results, failures, checkpoints. Plain data."""

from __future__ import annotations

from numbers import Number
from typing import Any

from narke.tune.result import DONE
from narke.tune.search.util import flattened

__all__ = ["RunMetadata"]

_WINDOWS = (5, 10)
_NOT_METRICS = frozenset({"config", "trial_id", "timestamp", "date", "pid", "hostname", "node_ip", DONE})


class RunMetadata:
    """Results, failures and checkpoints of one trial.

    Attributes:
        last_result: the last, with what was filled in.
        num_failures: how often the trial failed; num_failures_after_restore since the experiment was restored.
        error_filename, pickled_error_filename: in the trial's folder, once it failed.
    """

    def __init__(self, n_steps: tuple[int, ...] = _WINDOWS) -> None:
        self._windows = n_steps
        self.start_time: float | None = None
        self.last_result: dict[str, Any] = {}
        self.last_result_time = 0.0
        # None while there is at most one result, which says all.
        self._analysis: dict[str, dict[str, float]] | None = None
        self._n_steps: dict[str, dict[str, list[float]]] | None = None
        self.num_results = 0
        self.num_failures = 0
        self.num_failures_after_restore = 0
        self.error_filename: str | None = None
        self.pickled_error_filename: str | None = None

    @property
    def metric_analysis(self) -> dict[str, dict[str, float]]:
        """By metric: max, min, avg, last, last-5-avg, last-10-avg."""
        return self._statistics()[0]

    @property
    def metric_n_steps(self) -> dict[str, dict[str, list[float]]]:
        """By metric: the last 5 and 10 values, under "5" and "10"."""
        return self._statistics()[1]

    def _statistics(self) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, list[float]]]]:
        if self._analysis is None or self._n_steps is None:
            self._analysis, self._n_steps = {}, {}
            if self.num_results:
                self._take(self.last_result, flattened(self.last_result))
        return self._analysis, self._n_steps

    def update_metric(self, name: str, value: float, step: int) -> None:
        """Take a new value of a metric."""
        analysis, n_steps = self._statistics()
        known = analysis.get(name)
        if known is None:
            analysis[name] = known = {"max": value, "min": value, "avg": value, "last": value}
            n_steps[name] = {str(n): [value] for n in self._windows}
        else:
            known["max"] = max(value, known["max"])
            known["min"] = min(value, known["min"])
            known["avg"] = known["avg"] + (value - known["avg"]) / max(step, 1)
            known["last"] = value
            for n, window in n_steps[name].items():
                window.append(value)
                del window[: -int(n)]
        for n, window in n_steps[name].items():
            known[f"last-{n}-avg"] = sum(window) / len(window)

    def update_result(self, result: dict[str, Any], flat: dict[str, Any]) -> None:
        """Take a new result.

        Args:
            result: as reported.
            flat: the same with keys "a/b" for nested ones.
        """
        if self.num_results:
            self._statistics()
        self.last_result = result
        self.num_results += 1
        if self.num_results > 1:
            self._take(result, flat)

    def _take(self, result: dict[str, Any], flat: dict[str, Any]) -> None:
        step = result.get("training_iteration") or self.num_results
        for name, value in flat.items():
            if isinstance(value, Number) and not isinstance(value, bool) and name not in _NOT_METRICS:
                if not name.startswith("config/"):
                    self.update_metric(name, float(value) if hasattr(value, "dtype") else value, step)  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes; values of results may be anything that can be pickled."""
        state: dict[str, Any] = {
            "start_time": self.start_time,
            "last_result": self.last_result,
            "num_results": self.num_results,
        }
        if self.num_results > 1:
            state["metric_analysis"], state["metric_n_steps"] = self._statistics()
        for name in ("num_failures", "error_filename", "pickled_error_filename"):
            if getattr(self, name):
                state[name] = getattr(self, name)
        return state

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> RunMetadata:
        """Make it of what `to_json` gave."""
        made = cls()
        made.start_time = state["start_time"]
        made.last_result = state["last_result"] or {}
        made.num_results = state["num_results"]
        made._analysis, made._n_steps = state.get("metric_analysis"), state.get("metric_n_steps")
        for name in ("num_failures", "error_filename", "pickled_error_filename"):
            if name in state:
                setattr(made, name, state[name])
        return made
