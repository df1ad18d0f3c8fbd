"""MLflow: runs of training functions, and Tune's logger."""

from __future__ import annotations

import os
from typing import Any

from narke.train.context import get_context
from narke.tune.search.util import flattened

__all__ = ["setup_mlflow"]


def __getattr__(name: str) -> Any:
    if name == "MLflowLoggerCallback":
        from narke.tune.logger.mlflow import MLflowLoggerCallback

        return MLflowLoggerCallback
    raise AttributeError(f"narke.air.integrations.mlflow has no {name!r}")


class _Silent:
    """Stands for mlflow on ranks that do not log: any call gives itself."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self


def setup_mlflow(
    config: dict[str, Any] | None = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    experiment_id: str | None = None,
    experiment_name: str | None = None,
    tracking_token: str | None = None,
    artifact_location: str | None = None,
    run_name: str | None = None,
    create_experiment_if_not_exists: bool = False,
    tags: dict[str, Any] | None = None,
    rank_zero_only: bool = True,
) -> Any:
    """Begin a run of MLflow in a training function or trial.

    Args:
        config: logged as the run's parameters.
        tracking_uri, registry_uri: of the server; the environment's if None.
        experiment_id, experiment_name: which exists, or is made if `create_experiment_if_not_exists`.
        tracking_token: of the server.
        artifact_location: of a new experiment.
        run_name: the trial's name if None.
        create_experiment_if_not_exists: whether.
        tags: of the run.
        rank_zero_only: other ranks get an object that logs nothing.

    Returns:
        the module mlflow, with an active run.

    Raises:
        ImportError: mlflow is not installed.
        ValueError: there is no such experiment.
    """
    context = get_context()
    if rank_zero_only and context.get_world_rank() not in (None, 0):
        return _Silent()
    import mlflow

    if tracking_token:
        os.environ["MLFLOW_TRACKING_TOKEN"] = tracking_token
    if tracking_uri:
        mlflow.set_tracking_uri(tracking_uri)
    if registry_uri:
        mlflow.set_registry_uri(registry_uri)
    chosen = _experiment(
        mlflow, experiment_id, experiment_name, create_experiment_if_not_exists, artifact_location
    )
    mlflow.set_experiment(experiment_id=chosen)
    mlflow.start_run(run_name=run_name or context.get_trial_name() or None, tags=tags)
    if config:
        mlflow.log_params(flattened(config))
    return mlflow


def _experiment(mlflow: Any, given: str | None, name: str | None, create: bool, location: str | None) -> str:
    if given and mlflow.get_experiment(given) is not None:
        return given
    name = (
        name or os.environ.get("MLFLOW_EXPERIMENT_NAME") or get_context().get_experiment_name() or "Default"
    )
    found = mlflow.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    if not create:
        raise ValueError(
            f"MLflow has no experiment {name!r} (id {given!r}): make it first, or pass "
            "create_experiment_if_not_exists=True"
        )
    return mlflow.create_experiment(name, artifact_location=location)
