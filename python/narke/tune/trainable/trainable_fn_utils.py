"""What a trial's function calls: `report` and `get_checkpoint`."""

from __future__ import annotations

import logging
from typing import Any

from narke.train._checkpoint import Checkpoint
from narke.tune.trainable._session import get_session

__all__ = ["Checkpoint", "get_checkpoint", "report"]

logger = logging.getLogger(__name__)
_warned = False


def report(
    metrics: dict[str, Any] | float | None = None,
    *,
    checkpoint: Any = None,
    _metric: float | None = None,
    **more: Any,
) -> None:
    """Report metrics of a trial, and a checkpoint.

    Returns when the next result is asked for; does not return from a trial that is stopped. Outside of a trial it
    does nothing but warn once.

    Args:
        metrics: a dict. As in older programs metrics may also stand as keywords (``report(loss=0.1)``), and a bare
            number is the metric ``_metric``.
        checkpoint: a `Checkpoint`; its files are in the experiment's storage when this returns.

    Raises:
        TypeError: metrics of another kind, or no metrics.
    """
    global _warned
    if not isinstance(metrics, dict):
        value = metrics if metrics is not None else _metric
        if isinstance(value, bool) or (value is not None and not hasattr(value, "__float__")):
            raise TypeError(f"tune.report takes a dict of metrics, keywords or one number, not {value!r}")
        metrics = {} if value is None else {"_metric": value}
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        more, checkpoint = {"checkpoint": checkpoint, **more}, None
    result = {**metrics, **more}
    if not result and checkpoint is None:
        raise TypeError("tune.report needs metrics: report({'loss': 0.1}) or report(loss=0.1)")
    session = get_session()
    if session is None:
        if not _warned:
            logger.warning("tune.report was called outside of a trial: nothing is reported")
            _warned = True
        return
    if checkpoint is None and session.legacy_checkpoint is not None:
        checkpoint, session.legacy_checkpoint = session.legacy_checkpoint, None
    session.report(result, checkpoint=checkpoint)


def get_checkpoint() -> Any:
    """Return the checkpoint that the trial begins from, or its last one; None without."""
    session = get_session()
    return session.loaded_checkpoint if session is not None else None
