"""`MLflowLoggerCallback`: a run of MLflow for each trial."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from narke.tune.experiment.trial import Trial
from narke.tune.logger.logger import LoggerCallback
from narke.tune.result import TIMESTEPS_TOTAL, TRAINING_ITERATION
from narke.tune.search.util import flattened

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["MLflowLoggerCallback"]

logger = logging.getLogger(__name__)


class _Client:
    """A client of MLflow's server with one experiment; imports MLflow when it is set up."""

    def __init__(self) -> None:
        self.client: MlflowClient | None = None
        self.experiment_id: str | None = None

    def setup(
        self, tracking_uri: str | None, registry_uri: str | None, token: str | None, experiment: str | None
    ) -> None:
        """Connect, and find or make the experiment."""
        import os

        try:
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise ImportError(
                f"MLflowLoggerCallback needs the package mlflow: pip install mlflow ({error})"
            ) from error
        if token:
            os.environ["MLFLOW_TRACKING_TOKEN"] = token
        self.client = MlflowClient(tracking_uri=tracking_uri, registry_uri=registry_uri)
        name = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "Default"
        found = self.client.get_experiment_by_name(name)
        self.experiment_id = found.experiment_id if found is not None else self.client.create_experiment(name)


class MLflowLoggerCallback(LoggerCallback):
    """Logs parameters, numbers and, if asked for, files of each trial to MLflow, as one run.

    Args:
        tracking_uri: of the server or folder; MLflow's default if None.
        registry_uri: of the model registry.
        experiment_name: made if it is not there; MLFLOW_EXPERIMENT_NAME or "Default" if None.
        tags: of each run.
        tracking_token: for the server.
        save_artifact: log the trial's folder when it ends.
        log_params_on_trial_end: log parameters at the end, when schedulers no longer change them.

    Raises:
        ImportError: MLflow is not installed.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        *,
        registry_uri: str | None = None,
        experiment_name: str | None = None,
        tags: dict | None = None,
        tracking_token: str | None = None,
        save_artifact: bool = False,
        log_params_on_trial_end: bool = False,
    ) -> None:
        self.tracking_uri = tracking_uri
        self.registry_uri = registry_uri
        self.experiment_name = experiment_name
        self.tags = tags
        self.tracking_token = tracking_token
        self.should_save_artifact = save_artifact
        self.log_params_on_trial_end = log_params_on_trial_end
        self.mlflow_util = _Client()
        self._trial_runs: dict[Trial, str] = {}

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Connect to the server."""
        self.mlflow_util.setup(
            self.tracking_uri, self.registry_uri, self.tracking_token, self.experiment_name
        )

    @property
    def _client(self) -> Any:
        return self.mlflow_util.client

    def log_trial_start(self, trial: Trial) -> None:
        """Begin a run, or go on with the trial's."""
        if trial in self._trial_runs:
            return
        tags = {**(self.tags or {}), "trial_name": str(trial)}
        run = self._client.create_run(self.mlflow_util.experiment_id, tags=tags, run_name=str(trial))
        self._trial_runs[trial] = run.info.run_id
        if not self.log_params_on_trial_end:
            self._log_params(trial)

    def _log_params(self, trial: Trial) -> None:
        for name, value in flattened(trial.config).items():
            self._client.log_param(self._trial_runs[trial], str(name), value)

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Log the numbers."""
        from mlflow.entities import Metric

        step = result.get(TIMESTEPS_TOTAL) or result[TRAINING_ITERATION]
        when = int(result.get("timestamp", 0) * 1000)
        numbers = {
            name: float(value)
            for name, value in flattened(result).items()
            if isinstance(value, (int, float)) and not name.startswith("config/")
        }
        metrics = [Metric(name, value, when, step) for name, value in numbers.items()]
        self._client.log_batch(self._trial_runs[trial], metrics=metrics)

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """End the run."""
        run_id = self._trial_runs.get(trial)
        if run_id is None:
            return
        if self.log_params_on_trial_end:
            self._log_params(trial)
        if self.should_save_artifact and trial.local_path:
            self._client.log_artifacts(run_id, trial.local_path)
        self._client.set_terminated(run_id, status="FAILED" if failed else "FINISHED")
