"""Callbacks for Keras in a trial."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from tensorflow.keras.callbacks import Callback

from narke.tune.trainable.trainable_fn_utils import Checkpoint, report

__all__ = ["TuneReportCallback", "TuneReportCheckpointCallback"]

_EVENTS = (
    "epoch_begin epoch_end train_batch_begin train_batch_end test_batch_begin test_batch_end predict_batch_begin "
    "predict_batch_end train_begin train_end test_begin test_end predict_begin predict_end"
).split()


class TuneReportCheckpointCallback(Callback):
    """Reports what Keras logged, and checkpoints.

    Args:
        checkpoint_on: event at which a checkpoint goes with the report, such as "epoch_end", or a list.
        report_metrics_on: event at which to report, or a list.
        metrics: names, or {reported name: Keras's name}; all if None.
        filename: of the model in the checkpoint.
        frequency, on: as in older programs: a checkpoint at every so many events.
    """

    def __init__(
        self,
        checkpoint_on: str | list[str] = "epoch_end",
        report_metrics_on: str | list[str] = "epoch_end",
        metrics: str | list[str] | dict[str, str] | None = None,
        filename: str = "model.keras",
        frequency: int = 1,
        on: str | list[str] | None = None,
    ) -> None:
        super().__init__()
        if on is not None:
            checkpoint_on = report_metrics_on = on
        self._checkpoint_on = [checkpoint_on] if isinstance(checkpoint_on, str) else list(checkpoint_on)
        self._report_on = (
            [report_metrics_on] if isinstance(report_metrics_on, str) else list(report_metrics_on)
        )
        unknown = [each for each in self._checkpoint_on + self._report_on if each not in _EVENTS]
        if unknown:
            raise ValueError(f"unknown events of Keras: {unknown}; there are {_EVENTS}")
        self._metrics = [metrics] if isinstance(metrics, str) else metrics
        self._filename = filename
        self._frequency = frequency
        self._counts: dict[str, int] = {}

    def _handle(self, event: str, logs: dict[str, Any] | None) -> None:
        if event not in self._report_on:
            return
        logs = logs or {}
        names = (
            self._metrics
            if isinstance(self._metrics, dict)
            else {each: each for each in self._metrics or logs}
        )
        shown = {name: float(logs[key]) for name, key in names.items() if key in logs}
        self._counts[event] = self._counts.get(event, 0) + 1
        due = event in self._checkpoint_on and self._frequency and self._counts[event] % self._frequency == 0
        if not due:
            report(shown)
            return
        with tempfile.TemporaryDirectory() as folder:
            self.model.save(os.path.join(folder, self._filename))
            report(shown, checkpoint=Checkpoint.from_directory(folder))


def _hook(event: str) -> Any:
    def call(self: Any, *args: Any, logs: dict[str, Any] | None = None) -> None:
        given = logs if logs is not None else (args[-1] if args and isinstance(args[-1], dict) else None)
        self._handle(event, given)

    call.__name__ = f"on_{event}"
    call.__doc__ = f"Keras's event {event}."
    return call


for _event in _EVENTS:
    setattr(TuneReportCheckpointCallback, f"on_{_event}", _hook(_event))


class TuneReportCallback(TuneReportCheckpointCallback):
    """Reports what Keras logged; the older name of `TuneReportCheckpointCallback` without checkpoints.

    Args:
        args, kwargs: metrics, on.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = {**dict(zip(("metrics", "on"), args, strict=False)), **kwargs}
        on = given.get("on", "epoch_end")
        super().__init__(checkpoint_on=[], report_metrics_on=on, metrics=given.get("metrics"))
