"""Stands for ``ray.train._internal.session``: libraries ask whether a training function or a trial runs here."""

from __future__ import annotations

from narke.train import get_checkpoint, get_context, get_dataset_shard, report
from narke.train._session import current as get_session

__all__ = ["get_checkpoint", "get_context", "get_dataset_shard", "get_session", "report"]
