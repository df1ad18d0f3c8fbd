"""Collective calls over the run's controller: for small values, without a process group."""

from __future__ import annotations

from typing import Any, TypeVar

from narke.train import _session

__all__ = ["barrier", "broadcast_from_rank_zero"]

T = TypeVar("T")


def barrier() -> None:
    """Wait until all workers have called this.

    Raises:
        RuntimeError: no trainer runs this function.
    """
    session: Any = _session.require("barrier()")
    session.exchange("barrier", None)


def broadcast_from_rank_zero(data: T) -> T:
    """Give a small value of rank 0 to all workers; all must call it.

    Args:
        data: picklable; what other ranks pass is not looked at.

    Raises:
        RuntimeError: no trainer runs this function.
    """
    session: Any = _session.require("broadcast_from_rank_zero()")
    return session.exchange("broadcast", data)
