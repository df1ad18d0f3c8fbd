"""Reporting from Keras' training."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from typing import Any

from keras.callbacks import Callback as _KerasCallback

from narke.train import _session
from narke.train.context import get_context

__all__ = ["Callback", "ReportCheckpointCallback"]

_EVENTS = (
    "batch_begin",
    "batch_end",
    "epoch_begin",
    "epoch_end",
    "train_begin",
    "train_end",
    "train_batch_begin",
    "train_batch_end",
    "test_begin",
    "test_end",
    "test_batch_begin",
    "test_batch_end",
    "predict_begin",
    "predict_end",
    "predict_batch_begin",
    "predict_batch_end",
)


class ReportCheckpointCallback(_KerasCallback):
    """Reports metrics, and checkpoints with the model in ``model.keras``, as Keras' training goes on.

    Args:
        checkpoint_on: events with a checkpoint: "epoch_end", "train_batch_end", ... or a list of them.
        report_metrics_on: events at which metrics are reported.
        metrics: which: a name, names, or {reported name: Keras' name}; all if None.

    Raises:
        ValueError: an unknown event.
    """

    _checkpoint_type: Any = None

    def __init__(
        self,
        checkpoint_on: str | list[str] = "epoch_end",
        report_metrics_on: str | list[str] = "epoch_end",
        metrics: str | list[str] | dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._saves, self._reports = _events(checkpoint_on), _events(report_metrics_on)
        self._metrics = [metrics] if isinstance(metrics, str) else metrics

    def _handle(self, logs: dict | None, when: str) -> None:
        if when not in (*self._saves, *self._reports):
            return
        session = _session.require("ReportCheckpointCallback")
        metrics = self._chosen(dict(logs or {}))
        if not (when in self._saves and get_context().get_world_rank() == 0):
            session.report(metrics)
            return
        from narke.train import Checkpoint

        with tempfile.TemporaryDirectory() as folder:
            self.model.save(os.path.join(folder, "model.keras"))
            session.report(metrics, checkpoint=Checkpoint.from_directory(folder))

    def _chosen(self, logs: dict[str, Any]) -> dict[str, Any]:
        plain = {name: float(value) if hasattr(value, "__float__") else value for name, value in logs.items()}
        if isinstance(self._metrics, dict):
            return {shown: plain[name] for shown, name in self._metrics.items()}
        return {name: plain[name] for name in self._metrics} if self._metrics else plain

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._handle(logs, "epoch_begin")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._handle(logs, "epoch_end")

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._handle(logs, "train_begin")

    def on_train_end(self, logs: dict | None = None) -> None:
        self._handle(logs, "train_end")

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self._handle(logs, "train_batch_begin")

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._handle(logs, "train_batch_end")

    def on_test_begin(self, logs: dict | None = None) -> None:
        self._handle(logs, "test_begin")

    def on_test_end(self, logs: dict | None = None) -> None:
        self._handle(logs, "test_end")

    def on_test_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self._handle(logs, "test_batch_begin")

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._handle(logs, "test_batch_end")

    def on_predict_begin(self, logs: dict | None = None) -> None:
        self._handle(logs, "predict_begin")

    def on_predict_end(self, logs: dict | None = None) -> None:
        self._handle(logs, "predict_end")

    def on_predict_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self._handle(logs, "predict_batch_begin")

    def on_predict_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._handle(logs, "predict_batch_end")


class Callback(ReportCheckpointCallback):
    """Reports metrics and a checkpoint every so many times of an event, as in the AIR time.

    Args:
        metrics: see `ReportCheckpointCallback`.
        on: an event, or a list of them.
        frequency: every how many of them a checkpoint is reported; for each event if it is a list.
    """

    def __init__(
        self,
        metrics: str | list[str] | dict[str, str] | None = None,
        on: str | list[str] = "epoch_end",
        frequency: int | list[int] = 1,
    ) -> None:
        events = _events(on)
        super().__init__(checkpoint_on=[], report_metrics_on=events, metrics=metrics)
        every = frequency if isinstance(frequency, list) else [frequency] * len(events)
        self._every = dict(zip(events, every, strict=True))
        self._seen: Counter[str] = Counter()

    def _handle(self, logs: dict | None, when: str) -> None:
        self._seen[when] += 1
        every = self._every.get(when, 0)
        self._saves = [when] if every > 0 and self._seen[when] % every == 0 else []
        super()._handle(logs, when)


def _events(given: str | list[str]) -> list[str]:
    events = [given] if isinstance(given, str) else list(given)
    for each in events:
        if each not in _EVENTS:
            raise ValueError(f"{each!r} is no event of Keras' training; these are: {', '.join(_EVENTS)}")
    return events
