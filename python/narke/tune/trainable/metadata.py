"""What became of a trial so far: results, failures, checkpoints. Plain data."""

from __future__ import annotations

from numbers import Number
from typing import Any

from narke.tune.result import DONE, TIME_TOTAL_S

__all__ = ["RunMetadata"]

_WINDOWS = (5, 10)
_NOT_METRICS = frozenset({"config", "trial_id", "timestamp", "date", "pid", "hostname", "node_ip", DONE})


class RunMetadata:
    """Results, failures and checkpoints of one trial.

    Attributes:
        last_result: the last, with what was filled in.
        metric_analysis: by metric: max, min, avg, last, last-5-avg, last-10-avg.
        metric_n_steps: by metric: the last 5 and 10 values, under "5" and "10".
        num_failures: how often the trial failed; num_failures_after_restore since the experiment was restored.
        error_filename, pickled_error_filename: in the trial's folder, once it failed.
    """

    def __init__(self, n_steps: tuple[int, ...] = _WINDOWS) -> None:
        self._windows = n_steps
        self.start_time: float | None = None
        self.last_result: dict[str, Any] = {}
        self.last_result_time = 0.0
        self.metric_analysis: dict[str, dict[str, float]] = {}
        self.metric_n_steps: dict[str, dict[str, list[float]]] = {}
        self.num_results = 0
        self.num_failures = 0
        self.num_failures_after_restore = 0
        self.error_filename: str | None = None
        self.pickled_error_filename: str | None = None

    def update_metric(self, name: str, value: float, step: int) -> None:
        """Take a new value of a metric."""
        known = self.metric_analysis.get(name)
        if known is None:
            self.metric_analysis[name] = known = {"max": value, "min": value, "avg": value, "last": value}
            self.metric_n_steps[name] = {str(n): [value] for n in self._windows}
        else:
            known["max"] = max(value, known["max"])
            known["min"] = min(value, known["min"])
            known["avg"] = known["avg"] + (value - known["avg"]) / max(step, 1)
            known["last"] = value
            for n, window in self.metric_n_steps[name].items():
                window.append(value)
                del window[: -int(n)]
        for n, window in self.metric_n_steps[name].items():
            known[f"last-{n}-avg"] = sum(window) / len(window)

    def update_result(self, result: dict[str, Any], flat: dict[str, Any]) -> None:
        """Take a new result.

        Args:
            result: as reported.
            flat: the same with keys "a/b" for nested ones.
        """
        self.last_result = result
        self.num_results += 1
        step = result.get("training_iteration") or self.num_results
        for name, value in flat.items():
            if isinstance(value, Number) and not isinstance(value, bool) and name not in _NOT_METRICS:
                if not name.startswith("config/"):
                    self.update_metric(name, float(value) if hasattr(value, "dtype") else value, step)  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes; values of results may be anything that can be pickled."""
        return {
            "start_time": self.start_time,
            "last_result": self.last_result,
            "metric_analysis": self.metric_analysis,
            "metric_n_steps": self.metric_n_steps,
            "num_results": self.num_results,
            "num_failures": self.num_failures,
            "error_filename": self.error_filename,
            "pickled_error_filename": self.pickled_error_filename,
            "total_time": self.last_result.get(TIME_TOTAL_S, 0),
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> RunMetadata:
        """Make it of what `to_json` gave."""
        made = cls()
        made.start_time = state["start_time"]
        made.last_result = state["last_result"] or {}
        made.metric_analysis = state["metric_analysis"]
        made.metric_n_steps = state["metric_n_steps"]
        made.num_results = state["num_results"]
        made.num_failures = state["num_failures"]
        made.error_filename = state["error_filename"]
        made.pickled_error_filename = state["pickled_error_filename"]
        return made
