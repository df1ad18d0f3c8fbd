"""Reporting from LightGBM's training."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narke.train._checkpoint import Checkpoint
from narke.train.context import get_context
from narke.train.v2.api.train_fn_utils import report

if TYPE_CHECKING:
    import lightgbm
    import pandas as pd

__all__ = ["RayTrainReportCallback", "normalize_pandas_for_lightgbm"]


class RayTrainReportCallback:
    """Reports the evaluation of each round, and checkpoints.

    Args:
        metrics: which: a name, names, or {reported name: name}; all if None.
        filename: of the model in the checkpoint.
        frequency: every how many rounds a checkpoint is reported; 0 never.
        checkpoint_at_end: report one with the last round.
        results_postprocessing_fn: changes the metrics before they are reported.
    """

    CHECKPOINT_NAME = "model.txt"

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

    @classmethod
    def get_model(cls, checkpoint: Checkpoint, filename: str = CHECKPOINT_NAME) -> lightgbm.Booster:
        """The model of a checkpoint that this callback reported.

        Args:
            checkpoint: reported.
            filename: of the model in it.
        """
        from lightgbm import Booster

        with checkpoint.as_directory() as folder:
            return Booster(model_file=Path(folder, filename).as_posix())

    def __call__(self, env: Any) -> None:
        """A round is done.

        Args:
            env: lightgbm's CallbackEnv.
        """
        done = env.iteration - env.begin_iteration + 1
        last = env.iteration == env.end_iteration - 1
        saves = (self._frequency > 0 and done % self._frequency == 0) or (last and self._at_end)
        metrics = self._chosen(env)
        if not (saves and get_context().get_world_rank() == 0):
            report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            env.model.save_model(Path(folder, self._filename).as_posix())
            report(metrics, checkpoint=Checkpoint.from_directory(folder))

    def _chosen(self, env: Any) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for entry in env.evaluation_result_list or ():
            data, name, value = entry[:3]
            if len(entry) > 4:  # cross validation
                flat[f"{data}-{name}-mean"], flat[f"{data}-{name}-stdv"] = value, entry[4]
            else:
                flat[f"{data}-{name}"] = value
        if isinstance(self._metrics, dict):
            flat = {shown: flat[name] for shown, name in self._metrics.items()}
        elif self._metrics:
            flat = {name: flat[name] for name in self._metrics}
        return self._postprocess(flat) if self._postprocess else flat


def normalize_pandas_for_lightgbm(df: pd.DataFrame) -> pd.DataFrame:
    """The frame with columns of types that LightGBM takes: Arrow's and nullable ones become numpy's.

    Args:
        df: a data frame.
    """
    import pandas as pd

    changed = {}
    for name in df.columns:
        kind = df[name].dtype
        if isinstance(kind, pd.ArrowDtype) or (
            pd.api.types.is_extension_array_dtype(kind) and kind != "category"
        ):
            if pd.api.types.is_bool_dtype(kind) or pd.api.types.is_numeric_dtype(kind):
                whole = pd.api.types.is_integer_dtype(kind) and not df[name].isna().any()
                changed[name] = df[name].to_numpy(
                    dtype="int64" if whole else "float64", na_value=0 if whole else float("nan")
                )
    return df.assign(**changed) if changed else df
