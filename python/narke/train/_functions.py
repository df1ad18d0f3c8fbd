"""What training functions of Ray 2.0 call."""

from __future__ import annotations

from typing import Any

from narke.train._checkpoint import Checkpoint
from narke.train._session import require
from narke.train.context import get_context
from narke.train.v2.api.train_fn_utils import get_checkpoint

__all__ = ["load_checkpoint", "local_rank", "save_checkpoint", "world_rank", "world_size"]


def load_checkpoint() -> dict[str, Any] | None:
    """The dictionary of the last checkpoint, or None."""
    last = get_checkpoint()
    return last.to_dict() if last is not None else None


def save_checkpoint(**kwargs: Any) -> None:
    """Report a checkpoint that holds a dictionary; all workers call it, rank 0's is kept.

    Args:
        kwargs: the dictionary.
    """
    first = get_context().get_world_rank() == 0
    require("save_checkpoint()").report({}, checkpoint=Checkpoint.from_dict(kwargs) if first else None)


def local_rank() -> int:
    """This worker's rank on its node."""
    return get_context().get_local_rank()


def world_rank() -> int:
    """This worker's rank."""
    return get_context().get_world_rank()


def world_size() -> int:
    """The number of workers."""
    return get_context().get_world_size()
