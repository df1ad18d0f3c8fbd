"""The session of a training function, as in the AIR time; it is that of `narke.train`, or of a trial of Tune."""

from __future__ import annotations

from typing import Any

from narke.train._session import require
from narke.train.context import get_context
from narke.train.v2.api.train_fn_utils import get_checkpoint, get_dataset_shard

__all__ = [
    "get_checkpoint",
    "get_dataset_shard",
    "get_experiment_name",
    "get_local_rank",
    "get_local_world_size",
    "get_node_rank",
    "get_trial_dir",
    "get_trial_id",
    "get_trial_name",
    "get_trial_resources",
    "get_world_rank",
    "get_world_size",
    "report",
]


def report(metrics: dict[str, Any], *, checkpoint: Any = None) -> None:
    """Report metrics and possibly a checkpoint.

    Args:
        metrics: by name.
        checkpoint: also one made by `Checkpoint.from_dict`.

    Raises:
        RuntimeError: no trainer or tuner runs this function.
    """
    require("session.report()").report(metrics, checkpoint=checkpoint)


def get_experiment_name() -> str:
    """The experiment's name."""
    return get_context().get_experiment_name()


def get_trial_name() -> str:
    """The trial's name."""
    return get_context().get_trial_name()


def get_trial_id() -> str:
    """The trial's id."""
    return get_context().get_trial_id()


def get_trial_resources() -> Any:
    """What the trial holds."""
    return get_context().get_trial_resources()


def get_trial_dir() -> str:
    """The trial's folder."""
    return get_context().get_trial_dir()


def get_world_size() -> int:
    """The number of workers."""
    return get_context().get_world_size()


def get_world_rank() -> int:
    """This worker's rank."""
    return get_context().get_world_rank()


def get_local_rank() -> int:
    """This worker's rank on its node."""
    return get_context().get_local_rank()


def get_local_world_size() -> int:
    """The number of workers on this node."""
    return get_context().get_local_world_size()


def get_node_rank() -> int:
    """The rank of this node."""
    return get_context().get_node_rank()
