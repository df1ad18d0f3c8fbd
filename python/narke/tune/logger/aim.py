"""`AimLoggerCallback`: a run of Aim for each trial."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from narke.tune.logger.logger import LoggerCallback, safe_json
from narke.tune.search.util import flattened

if TYPE_CHECKING:
    from narke.tune.experiment.trial import Trial

__all__ = ["VALID_SUMMARY_TYPES", "AimLoggerCallback"]

VALID_SUMMARY_TYPES = [int, float, np.float32, np.float64, np.int32, np.int64]
_NOT_TRACKED = {"config", "pid", "timestamp", "time_total_s", "training_iteration"}


def _aim() -> Any:
    try:
        import aim
    except ImportError as error:
        raise ImportError(f"AimLoggerCallback needs the package aim: pip install aim ({error})") from error
    return aim


class AimLoggerCallback(LoggerCallback):
    """Logs parameters and numbers of each trial to Aim.

    Args:
        repo: Aim's folder or repository; the experiment's folder if None.
        experiment_name: the experiment's if None.
        metrics: the only ones logged; all if None.
        aim_run_kwargs: of aim.Run.

    Raises:
        ImportError: Aim is not installed.
    """

    VALID_HPARAMS = (str, bool, int, float, list, type(None))
    VALID_NP_HPARAMS = (np.bool_, np.float32, np.float64, np.int32, np.int64)

    def __init__(
        self,
        repo: Any = None,
        experiment_name: str | None = None,
        metrics: list[str] | None = None,
        **aim_run_kwargs: Any,
    ) -> None:
        _aim()
        self._repo_path = repo
        self._experiment_name = experiment_name
        if not (bool(metrics) or metrics is None):
            raise ValueError("`metrics` must either contain at least one metric name, or be None")
        self._metrics = metrics
        self._aim_run_kwargs = aim_run_kwargs
        self._trial_to_run: dict[Trial, Any] = {}

    def log_trial_start(self, trial: Trial) -> None:
        """Begin a run with the trial's parameters."""
        if trial in self._trial_to_run:
            self._trial_to_run[trial].close()
        trial.init_local_path()
        run = _aim().Run(
            repo=self._repo_path or trial.local_experiment_path,
            experiment=self._experiment_name or trial.experiment_dir_name,
            **self._aim_run_kwargs,
        )
        self._trial_to_run[trial] = run
        run["trial_id"] = trial.trial_id
        run["trial_path"] = os.fspath(trial.path or "")
        params = {}
        for name, value in flattened(trial.evaluated_params or trial.config).items():
            if isinstance(value, self.VALID_NP_HPARAMS):
                value = value.item()
            params[name] = value if isinstance(value, self.VALID_HPARAMS) else safe_json(value)
        run["hparams"] = params

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Log the numbers."""
        run = self._trial_to_run[trial]
        step = result.get("timesteps_total") or result["training_iteration"]
        shown = {key: value for key, value in result.items() if key not in _NOT_TRACKED}
        for name, value in flattened(shown).items():
            if (self._metrics is None or name in self._metrics) and type(value) in VALID_SUMMARY_TYPES:
                if np.isfinite(value):
                    run.track(value=value, name=name, step=step)

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """End the run."""
        run = self._trial_to_run.pop(trial, None)
        if run is not None:
            run.close()
