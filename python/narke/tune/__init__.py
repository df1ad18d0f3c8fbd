"""Tune: search over configurations, with trials as processes of the cluster."""

from __future__ import annotations

from narke._private.lazy_names import lazy_names

_HOMES = {
    "Result": "narke.air.result",
    "CLIReporter": "progress_reporter",
    "Callback": "callback",
    "Checkpoint": "trainable.trainable_fn_utils",
    "CheckpointConfig": "impl.config",
    "Experiment": "experiment.experiment",
    "ExperimentAnalysis": "analysis.experiment_analysis",
    "FailureConfig": "impl.config",
    "JupyterNotebookReporter": "progress_reporter",
    "PlacementGroupFactory": "execution.placement_groups",
    "ProgressReporter": "progress_reporter",
    "ResultGrid": "result_grid",
    "ResumeConfig": "tune_config",
    "RunConfig": "impl.config",
    "Stopper": "stopper",
    "SyncConfig": "syncer",
    "Trainable": "trainable.trainable",
    "TuneConfig": "tune_config",
    "TuneContext": "context",
    "TuneError": "error",
    "Tuner": "tuner",
    "checkpoint_dir": "trainable.session",
    "choice": "search.sample",
    "create_scheduler": "schedulers",
    "create_searcher": "search",
    "get_checkpoint": "trainable.trainable_fn_utils",
    "get_context": "context",
    "get_trial_dir": "trainable.session",
    "get_trial_id": "trainable.session",
    "get_trial_name": "trainable.session",
    "get_trial_resources": "trainable.session",
    "grid_search": "search.variant_generator",
    "is_session_enabled": "trainable.session",
    "lograndint": "search.sample",
    "loguniform": "search.sample",
    "qlograndint": "search.sample",
    "qloguniform": "search.sample",
    "qrandint": "search.sample",
    "qrandn": "search.sample",
    "quniform": "search.sample",
    "randint": "search.sample",
    "randn": "search.sample",
    "register_env": "registry",
    "register_trainable": "registry",
    "report": "trainable.trainable_fn_utils",
    "run": "tune",
    "run_experiments": "tune",
    "sample_from": "search.sample",
    "uniform": "search.sample",
    "with_parameters": "trainable.util",
    "with_resources": "trainable.util",
}
__all__ = sorted(_HOMES)


# Names are imported when they are first used: a worker needs few of them.
__getattr__ = lazy_names(__name__, _HOMES, modules=True)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
