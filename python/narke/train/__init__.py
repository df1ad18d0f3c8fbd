"""Distributed training: trainers, what training functions call, configurations and results."""

from __future__ import annotations

from typing import Any

from narke._private.lazy_names import lazy_names
from narke.train._generation import is_second

_HOMES = {
    "BackendConfig": "backend",
    "Checkpoint": "_checkpoint",
    "CheckpointConfig": "_config",
    "CheckpointConsistencyMode": "v2.api.report_config",
    "CheckpointUploadMode": "v2.api.report_config",
    "ControllerError": "v2.api.exceptions",
    "DataConfig": "_data_config",
    "FailureConfig": "_config",
    "LoggingConfig": "_config",
    "NCCLHangError": "v2.api.exceptions",
    "PreemptionError": "v2.api.exceptions",
    "PreemptionInfo": "v2.api.preemption",
    "ReportedCheckpoint": "v2.api.reported_checkpoint",
    "ReportedCheckpointStatus": "v2.api.reported_checkpoint",
    "Result": "_result",
    "RunConfig": "_config",
    "ScalingConfig": "_config",
    "SyncConfig": "_config",
    "TrainContext": "context",
    "TrainingFailedError": "v2.api.exceptions",
    "UserCallback": "v2.api.callback",
    "ValidationConfig": "v2.api.validation_config",
    "ValidationFn": "v2.api.validation_config",
    "ValidationTaskConfig": "v2.api.validation_config",
    "WorkerGroupError": "v2.api.exceptions",
    "CheckpointStrategy": "checkpoint",
    "Trainer": "trainer",
    "TrainingCallback": "callbacks.callback",
    "TrainingIterator": "trainer",
    "load_checkpoint": "_functions",
    "local_rank": "_functions",
    "save_checkpoint": "_functions",
    "world_rank": "_functions",
    "world_size": "_functions",
    "get_all_reported_checkpoints": "v2.api.train_fn_utils",
    "get_checkpoint": "v2.api.train_fn_utils",
    "get_context": "v2.api.train_fn_utils",
    "get_dataset_shard": "v2.api.train_fn_utils",
    "get_preemption_info": "v2.api.train_fn_utils",
    "report": "v2.api.train_fn_utils",
}
_FIRST = {
    "CheckpointConfig": "narke.air.config",
    "FailureConfig": "narke.air.config",
    "RunConfig": "narke.air.config",
    "ScalingConfig": "narke.air.config",
    "Result": "narke.air.result",
}
TRAIN_DATASET_KEY = "train"
__all__ = sorted([*_HOMES, "TRAIN_DATASET_KEY"])


def __getattr__(name: str) -> Any:
    homes = _HOMES if is_second() else {**_HOMES, **_FIRST}
    return lazy_names(__name__, homes, modules=True)(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
