"""Reporting from LightGBM's training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narke.train._boosted_report import BoostedReport

if TYPE_CHECKING:
    import lightgbm
    import pandas as pd

__all__ = ["RayTrainReportCallback", "normalize_pandas_for_lightgbm"]


class RayTrainReportCallback(BoostedReport):
    """Reports LightGBM's evaluation of each round, and checkpoints; arguments as of `BoostedReport`."""

    CHECKPOINT_NAME = "model.txt"

    @classmethod
    def _load(cls, path: str) -> lightgbm.Booster:
        from lightgbm import Booster

        return Booster(model_file=path)

    def __call__(self, env: Any) -> None:
        """A round is done.

        Args:
            env: lightgbm's CallbackEnv.
        """
        done = env.iteration - env.begin_iteration + 1
        last = env.iteration == env.end_iteration - 1
        saves = (self._frequency > 0 and done % self._frequency == 0) or (last and self._at_end)
        self._send(env.model, _evaluated(env), saves)


def _evaluated(env: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for entry in env.evaluation_result_list or ():
        data, name, value = entry[:3]
        if len(entry) > 4:  # cross validation
            values[f"{data}-{name}-mean"], values[f"{data}-{name}-stdv"] = value, entry[4]
        else:
            values[f"{data}-{name}"] = value
    return values


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
