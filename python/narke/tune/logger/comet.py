"""`CometLoggerCallback`: an experiment of Comet for each trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narke.tune.logger.logger import LoggerCallback
from narke.tune.search.util import flattened

if TYPE_CHECKING:
    from narke.tune.experiment.trial import Trial

__all__ = ["CometLoggerCallback"]

_OTHER = ("trial_id", "experiment_id", "experiment_tag")
_SYSTEM = ("node_ip", "hostname", "pid", "date")


def _comet() -> Any:
    try:
        import comet_ml
    except ImportError as error:
        raise ImportError(
            f"CometLoggerCallback needs the package comet-ml: pip install comet-ml ({error})"
        ) from error
    return comet_ml


class CometLoggerCallback(LoggerCallback):
    """Logs parameters and results of each trial to Comet.

    Args:
        online: send at once; else into files, for a later upload.
        tags: of each experiment.
        save_checkpoints: log checkpoints as artifacts.
        experiment_kwargs: of comet_ml.Experiment or comet_ml.OfflineExperiment.

    Raises:
        ImportError: comet-ml is not installed.
    """

    def __init__(
        self,
        online: bool = True,
        tags: list[str] | None = None,
        save_checkpoints: bool = False,
        **experiment_kwargs: Any,
    ) -> None:
        _comet()
        self.online = online
        self.tags = tags
        self.save_checkpoints = save_checkpoints
        self.experiment_kwargs = experiment_kwargs
        self._trial_experiments: dict[Trial, Any] = {}

    def log_trial_start(self, trial: Trial) -> None:
        """Begin an experiment with the trial's parameters."""
        if trial in self._trial_experiments:
            return
        comet = _comet()
        kind = comet.Experiment if self.online else comet.OfflineExperiment
        options = {"log_code": False, "log_graph": False, "parse_args": False, **self.experiment_kwargs}
        experiment = kind(**options)
        experiment.set_name(str(trial))
        experiment.add_tags(self.tags or [])
        experiment.log_other("Created from", "Ray")
        experiment.log_parameters(flattened(trial.config))
        self._trial_experiments[trial] = experiment

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Log the result."""
        if trial not in self._trial_experiments:
            self.log_trial_start(trial)
        experiment = self._trial_experiments[trial]
        step = result["training_iteration"]
        metrics: dict[str, Any] = {}
        for name, value in flattened(
            {key: value for key, value in result.items() if key != "config"}
        ).items():
            if name in _OTHER:
                experiment.log_other(name, value)
            elif name in _SYSTEM:
                experiment.log_system_info(name, value)
            elif isinstance(value, (int, float)):
                metrics[name] = value
        experiment.log_metrics(metrics, step=step)

    def log_trial_save(self, trial: Trial) -> None:
        """Log the checkpoint, if asked for."""
        if not self.save_checkpoints or trial.checkpoint is None:
            return
        artifact = _comet().Artifact(name=f"checkpoint_{trial}", artifact_type="model")
        with trial.checkpoint.as_directory() as folder:
            artifact.add(folder)
            self._trial_experiments[trial].log_artifact(artifact)

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """End the experiment."""
        experiment = self._trial_experiments.pop(trial, None)
        if experiment is not None:
            experiment.log_other("failed", failed)
            experiment.end()
