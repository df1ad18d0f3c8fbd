"""`WandbLoggerCallback`: a run of Weights & Biases for each trial."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from narke.tune.experiment.trial import Trial
from narke.tune.logger.logger import LoggerCallback, safe_json
from narke.tune.search.util import flattened

if TYPE_CHECKING:
    from narke.train._checkpoint import Checkpoint

__all__ = ["WandbLoggerCallback"]

_NOT_LOGGED = {
    "config",
    "trial_id",
    "pid",
    "hostname",
    "node_ip",
    "date",
    "timestamp",
    "done",
    "experiment_tag",
}


def _wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ImportError(
            f"WandbLoggerCallback needs the package wandb: pip install wandb ({error})"
        ) from error
    return wandb


class WandbLoggerCallback(LoggerCallback):
    """Logs configuration and results of each trial to Weights & Biases.

    Args:
        project: of the runs; the variable WANDB_PROJECT_NAME if None.
        group: of the runs; the variable WANDB_GROUP_NAME or the trainable's name if None.
        api_key_file, api_key: the key; the variable WANDB_API_KEY or an earlier login if None.
        excludes: keys of results and configuration that are not logged.
        log_config: also log the configuration with each result.
        upload_checkpoints: upload checkpoints as artifacts; `save_checkpoints` is its old name.
        upload_timeout: seconds that uploads may take at the end.
        video_kwargs, image_kwargs: of wandb.Video and wandb.Image.
        kwargs: of wandb.init, for instance mode="offline" or dir=.

    Raises:
        ImportError: wandb is not installed.
        ValueError: no project.
    """

    AUTO_CONFIG_KEYS = ["trial_id", "experiment_tag", "node_ip", "experiment_id", "hostname", "pid", "date"]

    def __init__(
        self,
        project: str | None = None,
        group: str | None = None,
        api_key_file: str | None = None,
        api_key: str | None = None,
        excludes: list[str] | None = None,
        log_config: bool = False,
        upload_checkpoints: bool = False,
        save_checkpoints: bool = False,
        upload_timeout: int = 1800,
        video_kwargs: dict | None = None,
        image_kwargs: dict | None = None,
        **kwargs: Any,
    ) -> None:
        _wandb()
        self.project = project
        self.group = group
        self.api_key_path = api_key_file
        self.api_key = api_key
        self.excludes = excludes or []
        self.log_config = log_config
        self.upload_checkpoints = upload_checkpoints or save_checkpoints
        self._upload_timeout = upload_timeout
        self.video_kwargs = video_kwargs or {}
        self.image_kwargs = image_kwargs or {}
        self.kwargs = kwargs
        self._runs: dict[Trial, Any] = {}

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Find key and project."""
        if self.api_key_path:
            with open(os.path.expanduser(self.api_key_path), encoding="utf-8") as file:
                self.api_key = file.readline().strip()
        if self.api_key:
            os.environ["WANDB_API_KEY"] = self.api_key
        self.project = self.project or os.environ.get("WANDB_PROJECT_NAME")
        if not self.project:
            raise ValueError("WandbLoggerCallback needs a project: pass project=, or set WANDB_PROJECT_NAME")
        self.group = self.group or os.environ.get("WANDB_GROUP_NAME")

    def log_trial_start(self, trial: Trial) -> None:
        """Begin a run, or go on with the trial's."""
        if trial in self._runs:
            return
        config = {key: value for key, value in flattened(trial.config).items() if key not in self.excludes}
        options = {
            "id": trial.trial_id,
            "name": str(trial),
            "resume": "allow",
            "reinit": "create_new",
            "project": self.project,
            "group": self.group or trial.trainable_name,
            "config": {key: _plain(value) for key, value in config.items()},
            **self.kwargs,
        }
        self._runs[trial] = _wandb().init(**options)

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Log the result."""
        if trial not in self._runs:
            self.log_trial_start(trial)
        hidden = _NOT_LOGGED - ({"config"} if self.log_config else set())
        shown = {
            key: value for key, value in result.items() if key not in hidden and key not in self.excludes
        }
        self._runs[trial].log({key: self._media(value) for key, value in flattened(shown).items()})

    def _media(self, value: Any) -> Any:
        """Arrays of 3 dimensions as images, of 5 as videos; numbers and text as they are."""
        shape = getattr(value, "shape", None)
        if shape is not None and len(shape) == 3:
            return _wandb().Image(value, **self.image_kwargs)
        if shape is not None and len(shape) == 5:
            return _wandb().Video(value[0], **{"fps": 20, **self.video_kwargs})
        return _plain(value)

    def log_trial_save(self, trial: Trial) -> None:
        """Upload the checkpoint, if asked for."""
        checkpoint: Checkpoint | None = trial.checkpoint
        if not self.upload_checkpoints or checkpoint is None or trial not in self._runs:
            return
        artifact = _wandb().Artifact(name=f"checkpoint_{trial.trial_id}", type="model")
        with checkpoint.as_directory() as folder:
            artifact.add_dir(folder)
            self._runs[trial].log_artifact(artifact)

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """End the run."""
        run = self._runs.pop(trial, None)
        if run is not None:
            run.finish(exit_code=int(failed))

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """End the runs of trials that did not end."""
        for trial in list(self._runs):
            self.log_trial_end(trial, failed=True)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float, str, bool, type(None))) else safe_json(value)
