"""What training and tuning share: configurations, results, checkpoints, the session of a running worker."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "AcquiredResources": "narke.air.execution.resources.request",
    "Checkpoint": "narke.train._checkpoint",
    "CheckpointConfig": "narke.air.config",
    "DataBatchType": "narke.air.data_batch_type",
    "DatasetConfig": "narke.air.config",
    "FailureConfig": "narke.air.config",
    "ResourceRequest": "narke.air.execution.resources.request",
    "Result": "narke.air.result",
    "RunConfig": "narke.air.config",
    "ScalingConfig": "narke.air.config",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if not name.startswith("_"):
        try:
            return importlib.import_module(f"narke.air.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"narke.air.{name}":
                raise
    raise AttributeError(f"narke.air has no {name!r}; what it has is in narke.air.__all__")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
