"""Logging of results."""

from __future__ import annotations

import json
import numbers
from pathlib import Path
from typing import Any

from narke.train.callbacks.callback import TrainingCallback, of_workers

__all__ = ["JsonLoggerCallback", "MLflowLoggerCallback", "TBXLoggerCallback"]


class _InFolder(TrainingCallback):
    """Has a folder: its own, or the trainer's.

    Args:
        logdir: its own.
    """

    def __init__(self, logdir: str | None = None) -> None:
        self._logdir = Path(logdir) if logdir else None

    def start_training(self, logdir: str, config: dict[str, Any] | None = None, **info: Any) -> None:
        """The run begins: make the folder."""
        self._logdir = self._logdir or Path(logdir)
        self._logdir.mkdir(parents=True, exist_ok=True)

    @property
    def logdir(self) -> Path:
        """The folder.

        Raises:
            RuntimeError: the run has not begun, and no folder was given.
        """
        if self._logdir is None:
            raise RuntimeError(f"{type(self).__name__} has no logdir before its run begins")
        return self._logdir


class JsonLoggerCallback(_InFolder):
    """Writes the metrics of all reports into a JSON file: a list with a list by rank for each.

    Args:
        logdir: folder; the trainer's if None.
        filename: ``results.json`` if None.
        workers_to_log: a rank, ranks, or None for all.
    """

    def __init__(
        self,
        logdir: str | None = None,
        filename: str | None = None,
        workers_to_log: int | list[int] | None = 0,
    ) -> None:
        super().__init__(logdir)
        self._filename, self._workers = filename or "results.json", workers_to_log
        self._results: list[Any] = []

    @property
    def log_path(self) -> Path:
        """The file."""
        return self.logdir / self._filename

    def start_training(self, logdir: str, config: dict[str, Any] | None = None, **info: Any) -> None:
        """The run begins: an empty list."""
        super().start_training(logdir, config, **info)
        self._results = []
        self.log_path.write_text("[]")

    def handle_result(self, results: list[dict[str, Any]], **info: Any) -> None:
        """Write the report with those before."""
        self._results.append(of_workers(results, self._workers))
        self.log_path.write_text(json.dumps(self._results, default=str))


class TBXLoggerCallback(_InFolder):
    """Writes numbers of a rank's reports as TensorBoard's events.

    Args:
        logdir: folder; the trainer's if None.
        worker_to_log: the rank.
    """

    VALID_SUMMARY_TYPES = (int, float)
    IGNORE_KEYS: set[str] = set()

    def __init__(self, logdir: str | None = None, worker_to_log: int = 0) -> None:
        super().__init__(logdir)
        self._worker, self._step = worker_to_log, 0
        self._writer: Any = None

    def start_training(self, logdir: str, config: dict[str, Any] | None = None, **info: Any) -> None:
        """The run begins: open the file."""
        super().start_training(logdir, config, **info)
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(self.logdir), flush_secs=30)

    def handle_result(self, results: list[dict[str, Any]], **info: Any) -> None:
        """Write the numbers."""
        self._step += 1
        for name, value in results[self._worker].items():
            if name not in self.IGNORE_KEYS and isinstance(value, numbers.Real):
                self._writer.add_scalar(name, float(value), self._step)
        self._writer.flush()

    def finish_training(self, error: bool = False, **info: Any) -> None:
        """The run has ended: close the file."""
        if self._writer is not None:
            self._writer.close()


class MLflowLoggerCallback(_InFolder):
    """Logs the configuration and a rank's metrics to MLflow.

    Args:
        tracking_uri, registry_uri: of the server; a folder below the trainer's if None.
        experiment_id, experiment_name: which is made if it is not there.
        tags: of the run.
        save_artifact: log the trainer's folder at the end.
        logdir: folder; the trainer's if None.
        worker_to_log: the rank.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        registry_uri: str | None = None,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        tags: dict[str, Any] | None = None,
        save_artifact: bool = False,
        logdir: str | None = None,
        worker_to_log: int = 0,
    ) -> None:
        super().__init__(logdir)
        self.tracking_uri, self.registry_uri = tracking_uri, registry_uri
        self.experiment_id, self.experiment_name = experiment_id, experiment_name
        self.tags, self.save_artifact = tags, save_artifact
        self._worker, self._step = worker_to_log, 0
        self.mlflow_util: Any = None

    def start_training(self, logdir: str, config: dict[str, Any] | None = None, **info: Any) -> None:
        """The run begins: begin one of MLflow."""
        super().start_training(logdir, config, **info)
        from narke.air.integrations.mlflow import setup_mlflow

        self.mlflow_util = setup_mlflow(
            config or {},
            tracking_uri=self.tracking_uri or self.logdir.as_uri(),
            registry_uri=self.registry_uri,
            experiment_id=self.experiment_id,
            experiment_name=self.experiment_name or "train",
            create_experiment_if_not_exists=True,
            tags=self.tags,
        )

    def handle_result(self, results: list[dict[str, Any]], **info: Any) -> None:
        """Log the numbers."""
        self._step += 1
        found = {name: float(v) for name, v in results[self._worker].items() if isinstance(v, numbers.Real)}
        self.mlflow_util.log_metrics(found, step=self._step)

    def finish_training(self, error: bool = False, **info: Any) -> None:
        """The run has ended: end MLflow's."""
        if self.mlflow_util is None:
            return
        if self.save_artifact:
            self.mlflow_util.log_artifacts(str(self.logdir))
        self.mlflow_util.end_run(status="FAILED" if error else "FINISHED")
