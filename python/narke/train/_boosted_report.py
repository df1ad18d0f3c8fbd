"""What the reporting callbacks of the libraries of boosted trees share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from narke.train._checkpoint import Checkpoint
from narke.train.context import get_context
from narke.train.v2.api.train_fn_utils import report

__all__ = ["BoostedReport"]


class BoostedReport:
    """Reports the evaluation of each round, and checkpoints.

    Args:
        metrics: which: a name, names, or {reported name: name}; all if None.
        filename: of the model in the checkpoint; `CHECKPOINT_NAME` if None.
        frequency: every how many rounds a checkpoint is reported; 0 never.
        checkpoint_at_end: report one after the last round.
        results_postprocessing_fn: changes the metrics before they are reported.
    """

    CHECKPOINT_NAME = ""

    def __init__(
        self,
        metrics: str | list[str] | dict[str, str] | None = None,
        filename: str | None = None,
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        results_postprocessing_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        self._metrics = [metrics] if isinstance(metrics, str) else metrics
        self._filename = filename or self.CHECKPOINT_NAME
        self._frequency, self._at_end = frequency, checkpoint_at_end
        self._postprocess = results_postprocessing_fn

    @classmethod
    def get_model(cls, checkpoint: Checkpoint, filename: str | None = None) -> Any:
        """The booster of a checkpoint that this callback reported.

        Args:
            checkpoint: reported.
            filename: of the model in it; `CHECKPOINT_NAME` if None.
        """
        with checkpoint.as_directory() as folder:
            return cls._load(Path(folder, filename or cls.CHECKPOINT_NAME).as_posix())

    @classmethod
    def _load(cls, path: str) -> Any:
        """The booster in a file."""
        raise NotImplementedError

    def _send(self, model: Any, values: dict[str, Any], saves: bool) -> None:
        """Report a round's values, from rank 0 with the model if it `saves`."""
        metrics = self._chosen(values)
        if not (saves and get_context().get_world_rank() == 0):
            report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            model.save_model(Path(folder, self._filename).as_posix())
            report(metrics, checkpoint=Checkpoint.from_directory(folder))

    def _chosen(self, values: dict[str, Any]) -> dict[str, Any]:
        if isinstance(self._metrics, dict):
            values = {shown: values[name] for shown, name in self._metrics.items()}
        elif self._metrics:
            values = {name: values[name] for name in self._metrics}
        return self._postprocess(values) if self._postprocess else values
