"""What training and tuning share: configurations, results, checkpoints, the session of a running worker."""

from __future__ import annotations

from narke._private.lazy_names import lazy_names

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

__getattr__ = lazy_names(__name__, _HOMES, modules=True)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
