"""A run's progress in the cluster's key-value store, for whoever shows it.

Key ``run:<run id>`` in the namespace ``train``; the value is JSON:

    {"run_id", "name", "trainer", "status": "STARTING|RUNNING|RESTARTING|FINISHED|STOPPED|FAILED",
     "started_s", "updated_s": seconds since 1970, "world_size", "attempts", "failures", "reports",
     "storage": the run's folder, "checkpoint": the last one's folder name or null, "error": text or null,
     "workers": [{"rank", "node_id", "node_ip", "pid"}],
     "job_id", "framework_versions": {name: version}, "settings", "history": attempts; see `_run_state`,
     "metrics": the last report's numbers and texts,
     "curves": {metric: [[report, value], ...]} thinned out to at most 500 points}
"""

from __future__ import annotations

import json
import math
import numbers
import time
from typing import Any

from narke.exceptions import RayError

__all__ = ["NAMESPACE", "Curves", "Progress"]

NAMESPACE = "train"
_EVERY_S = 0.5
_POINTS = 500
_METRICS = 50


class Curves:
    """Numbers by report, thinned out as they grow: never more than a bound of points each; pure."""

    def __init__(self, points: int = _POINTS) -> None:
        self._points = points
        self._step = 1
        self.lines: dict[str, list[list[float]]] = {}

    def add(self, index: int, metrics: dict[str, Any]) -> None:
        """Take in a report.

        Args:
            index: of the report.
            metrics: of which the finite numbers are kept.
        """
        if index % self._step:
            return
        for name, value in metrics.items():
            if isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value):
                if name in self.lines or len(self.lines) < _METRICS:
                    self.lines.setdefault(str(name), []).append([index, float(value)])
        if any(len(line) > self._points for line in self.lines.values()):
            self._step *= 2
            self.lines = {
                name: [p for p in line if p[0] % self._step == 0] for name, line in self.lines.items()
            }


class Progress:
    """Publishes the progress of one run, at most twice a second.

    Args:
        run_id, name, trainer, storage: what does not change.
    """

    def __init__(self, run_id: str, name: str, trainer: str, storage: str) -> None:
        now = time.time()
        self._state: dict[str, Any] = {
            "run_id": run_id,
            "name": name,
            "trainer": trainer,
            "storage": storage,
            "status": "STARTING",
            "started_s": now,
            "world_size": 0,
            "attempts": 0,
            "failures": 0,
            "reports": 0,
            "checkpoint": None,
            "error": None,
            "workers": [],
            "metrics": {},
        }
        self._key = f"run:{run_id}".encode()
        self._curves = Curves()
        self._published = 0.0
        self.dirty = True

    def update(self, **changes: Any) -> None:
        """Change entries; published with the next `flush`."""
        self._state.update(changes)
        self.dirty = True

    def report(self, index: int, metrics: dict[str, Any], checkpoint: str | None) -> None:
        """A report is complete."""
        self._curves.add(index, metrics)
        shown = {str(k): v for k, v in metrics.items() if isinstance(v, (str, int, float, bool))}
        self.update(reports=index + 1, metrics=dict(list(shown.items())[:_METRICS]))
        if checkpoint is not None:
            self.update(checkpoint=checkpoint)

    def flush(self, now: bool = False) -> None:
        """Publish what has changed.

        Args:
            now: even if the last time was a moment ago.
        """
        moment = time.time()
        if not self.dirty or (not now and moment - self._published < _EVERY_S):
            return
        from narke.experimental.internal_kv import _internal_kv_put

        self._state["updated_s"], self._published, self.dirty = moment, moment, False
        text = json.dumps({**self._state, "curves": self._curves.lines}, default=str)
        try:
            _internal_kv_put(self._key, text.encode(), namespace=NAMESPACE.encode())
        except RayError:
            self.dirty = True  # nobody sees it now; the run itself goes on
