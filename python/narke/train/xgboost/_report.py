"""Reporting from XGBoost's training."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xgboost.callback import TrainingCallback

from narke.train._checkpoint import Checkpoint
from narke.train.context import get_context
from narke.train.v2.api.train_fn_utils import report

if TYPE_CHECKING:
    import xgboost

__all__ = ["RayTrainReportCallback"]


class RayTrainReportCallback(TrainingCallback):
    """Reports the evaluation of each round, and checkpoints.

    Args:
        metrics: which: a name, names, or {reported name: name}; all if None.
        filename: of the model in the checkpoint.
        frequency: every how many rounds a checkpoint is reported; 0 never.
        checkpoint_at_end: report one after the last round.
        results_postprocessing_fn: changes the metrics before they are reported.
    """

    CHECKPOINT_NAME = "model.ubj"

    def __init__(
        self,
        metrics: str | list[str] | dict[str, str] | None = None,
        filename: str = CHECKPOINT_NAME,
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        results_postprocessing_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        self._metrics = [metrics] if isinstance(metrics, str) else metrics
        self._filename, self._frequency, self._at_end = filename, frequency, checkpoint_at_end
        self._postprocess = results_postprocessing_fn
        self._last_log: dict[str, dict[str, Any]] = {}
        self._last_saved: int | None = None

    @classmethod
    def get_model(cls, checkpoint: Checkpoint, filename: str = CHECKPOINT_NAME) -> xgboost.Booster:
        """The model of a checkpoint that this callback reported.

        Args:
            checkpoint: reported.
            filename: of the model in it.
        """
        from xgboost import Booster

        with checkpoint.as_directory() as folder:
            booster = Booster()
            booster.load_model(Path(folder, filename).as_posix())
            return booster

    def after_iteration(self, model: Any, epoch: int, evals_log: dict) -> bool:
        """A round is done."""
        self._last_log = evals_log
        saves = self._frequency > 0 and (epoch + 1) % self._frequency == 0
        if saves:
            self._last_saved = epoch
        self._report(model, saves)
        return False

    def after_training(self, model: Any) -> Any:
        """All rounds are done."""
        done = model.num_boosted_rounds() - 1
        if self._at_end and self._last_saved != done:
            self._report(model, True)
        return model

    def _report(self, model: Any, saves: bool) -> None:
        metrics = self._chosen()
        if not (saves and get_context().get_world_rank() == 0):
            report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            model.save_model(Path(folder, self._filename).as_posix())
            report(metrics, checkpoint=Checkpoint.from_directory(folder))

    def _chosen(self) -> dict[str, Any]:
        flat = {
            f"{data}-{name}": values[-1][0] if isinstance(values[-1], tuple) else values[-1]
            for data, logged in self._last_log.items()
            for name, values in logged.items()
        }
        if isinstance(self._metrics, dict):
            flat = {shown: flat[name] for shown, name in self._metrics.items()}
        elif self._metrics:
            flat = {name: flat[name] for name in self._metrics}
        return self._postprocess(flat) if self._postprocess else flat
