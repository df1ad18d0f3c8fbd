"""Reporting from XGBoost's training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xgboost.callback import TrainingCallback

from narke.train._boosted_report import BoostedReport

if TYPE_CHECKING:
    import xgboost

__all__ = ["RayTrainReportCallback"]


class RayTrainReportCallback(BoostedReport, TrainingCallback):
    """Reports XGBoost's evaluation of each round, and checkpoints; arguments as of `BoostedReport`."""

    CHECKPOINT_NAME = "model.ubj"

    # What was evaluated last, and the round after which a model was saved.
    _last_log: dict[str, dict[str, Any]] = {}
    _last_saved: int | None = None

    @classmethod
    def _load(cls, path: str) -> xgboost.Booster:
        from xgboost import Booster

        booster = Booster()
        booster.load_model(path)
        return booster

    def after_iteration(self, model: Any, epoch: int, evals_log: dict) -> bool:
        """A round is done."""
        self._last_log = evals_log
        saves = self._frequency > 0 and (epoch + 1) % self._frequency == 0
        if saves:
            self._last_saved = epoch
        self._send(model, self._evaluated(), saves)
        return False

    def after_training(self, model: Any) -> Any:
        """All rounds are done."""
        if self._at_end and self._last_saved != model.num_boosted_rounds() - 1:
            self._send(model, self._evaluated(), True)
        return model

    def _evaluated(self) -> dict[str, Any]:
        return {
            f"{data}-{name}": values[-1][0] if isinstance(values[-1], tuple) else values[-1]
            for data, logged in self._last_log.items()
            for name, values in logged.items()
        }
