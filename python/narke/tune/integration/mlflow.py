"""MLflow in trials: the logger under the name of older programs, and functions that log themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.tune.integration._runs import check_mixed_into_trainable, inside_a_run
from narke.tune.logger.mlflow import MLflowLoggerCallback

__all__ = ["MLflowLoggerCallback", "MLflowTrainableMixin", "mlflow_mixin"]


def _begin(config: dict[str, Any]) -> Any:
    """Begin a run as the configuration's "mlflow" says; returns the module."""
    import mlflow

    options = dict(config.get("mlflow") or {})
    if "tracking_uri" not in options:
        raise ValueError('mlflow_mixin needs the tracking server: config["mlflow"]["tracking_uri"]')
    mlflow.set_tracking_uri(options["tracking_uri"])
    if options.get("experiment_id") is not None:
        mlflow.set_experiment(experiment_id=options["experiment_id"])
    elif options.get("experiment_name"):
        mlflow.set_experiment(options["experiment_name"])
    mlflow.start_run()
    mlflow.log_params({key: value for key, value in config.items() if key != "mlflow"})
    return mlflow


def mlflow_mixin(func: Callable) -> Callable:
    """Have a trial's function run inside of an MLflow run, which its calls of ``mlflow.log_...`` go to.

    Args:
        func: its configuration has "mlflow": {"tracking_uri", "experiment_name" or "experiment_id"}.
    """

    return inside_a_run(
        func, _begin, lambda mlflow, failed: mlflow.end_run("FAILED" if failed else "FINISHED")
    )


class MLflowTrainableMixin:
    """For trainable classes: an MLflow run around each trial.

    Args:
        config: see `mlflow_mixin`.
        args, kwargs: of `Trainable`.

    Raises:
        ValueError: the class is no `Trainable`.
    """

    def __init__(self, config: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        check_mixed_into_trainable(self, "MLflowTrainableMixin")
        self._mlflow = _begin(config)
        super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]

    def stop(self) -> None:
        """End the run."""
        self._mlflow.end_run()
        super().stop()  # type: ignore[misc]
