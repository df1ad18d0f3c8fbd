"""A record of each running experiment in the cluster's key-value table, for pages that show it.

Namespace ``tune``, key ``experiment:<name>``; the value is JSON, written at most once a second and at the end:

    {"name", "path", "started" (seconds since the epoch), "updated", "ended" (bool), "metric", "mode",
     "counts": {status: trials}, "total" (trials that there will be, null if unknown),
     "trials": [{"id", "name", "status", "config" (values of the search space), "iteration", "time_total_s",
                 "metrics" (last numbers), "curve": [[iteration, value of the metric], ...], "error", "path", "pid"}]}

At most 500 trials are listed, those that run and the latest others; a curve has at most 200 points.
`experiments` reads all records.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from narke.tune.callback import Callback
from narke.tune.logger.logger import safe_json
from narke.tune.result import AUTO_RESULT_KEYS
from narke.tune.search.util import flattened

if TYPE_CHECKING:
    from narke.tune.experiment.experiment import Experiment
    from narke.tune.experiment.trial import Trial

__all__ = ["NAMESPACE", "ProgressRecord", "experiments"]

NAMESPACE = "tune"
_PREFIX = "experiment:"
_PERIOD_S = 1.0
_SHARE = 50  # of the time is writing at most one part
_MAX_TRIALS = 500
_MAX_POINTS = 200


def experiments() -> list[dict[str, Any]]:
    """The records of the cluster's experiments, the latest first; see the top of this module."""
    from narke._private import kv

    found = [kv.get(key, namespace=NAMESPACE) for key in kv.keys(_PREFIX, namespace=NAMESPACE)]
    return sorted((json.loads(data) for data in found if data), key=lambda each: -each["started"])


class ProgressRecord(Callback):
    """Keeps the record of one experiment.

    Args:
        experiment: it.
        metric, mode: what is optimized.
    """

    def __init__(self, experiment: Experiment, metric: str | None, mode: str | None) -> None:
        self._facts: dict[str, Any] = {
            "name": experiment.name,
            "path": experiment.path,
            "started": time.time(),
            "metric": metric,
            "mode": mode,
            "total": None,
        }
        self._curves: dict[str, list[tuple[int, float]]] = {}
        self._rows: dict[str, dict[str, Any]] = {}  # of trials that have ended
        self._due = 0.0

    def setup(self, total_num_samples: Any = None, **info: Any) -> None:  # type: ignore[override]
        """Note how many trials there will be."""
        if isinstance(total_num_samples, int) and total_num_samples > 0:
            self._facts["total"] = total_num_samples

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Add a point to the trial's curve."""
        value = flattened(result).get(self._facts["metric"]) if self._facts["metric"] else None
        if isinstance(value, (int, float)):
            curve = self._curves.setdefault(trial.trial_id, [])
            curve.append((result.get("training_iteration", len(curve) + 1), value))
            if len(curve) > _MAX_POINTS:
                del curve[1::2]

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Write the record when it is a second old, or older if writing it takes long."""
        if time.monotonic() > self._due:
            self._write(list(trials), False)

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Write the record for the last time."""
        self._write(trials, True)

    def _write(self, trials: list[Trial], ended: bool) -> None:
        import narke
        from narke._private import kv

        if not narke.is_initialized():
            return
        begun = time.monotonic()
        counts: dict[str, int] = {}
        for trial in trials:
            counts[trial.status] = counts.get(trial.status, 0) + 1
        shown = sorted(trials[-2 * _MAX_TRIALS :], key=lambda trial: trial.status != "RUNNING")[:_MAX_TRIALS]
        rows = [self._rows.get(trial.trial_id) or self._row(trial) for trial in shown]
        record = {
            **self._facts,
            "updated": time.time(),
            "ended": ended,
            "counts": counts,
            "trials": rows,
        }
        kv.put(f"{_PREFIX}{self._facts['name']}", json.dumps(record, default=safe_json), namespace=NAMESPACE)
        self._curves = {trial.trial_id: self._curves.get(trial.trial_id, []) for trial in shown}
        self._rows = {row["id"]: row for row in rows if row["status"] in ("TERMINATED", "ERROR")}
        now = time.monotonic()
        self._due = now + max(_PERIOD_S, _SHARE * (now - begun))

    def _row(self, trial: Trial) -> dict[str, Any]:
        result = trial.last_result
        flat = flattened({key: value for key, value in result.items() if key not in AUTO_RESULT_KEYS})
        return {
            "id": trial.trial_id,
            "name": str(trial),
            "status": trial.status,
            "config": flattened(trial.evaluated_params),
            "iteration": result.get("training_iteration", 0),
            "time_total_s": result.get("time_total_s"),
            "metrics": {key: value for key, value in flat.items() if isinstance(value, (int, float))},
            "curve": self._curves.get(trial.trial_id, []),
            "error": trial.error_file if trial.status == "ERROR" else None,
            "path": trial.path,
            "pid": result.get("pid"),
        }
