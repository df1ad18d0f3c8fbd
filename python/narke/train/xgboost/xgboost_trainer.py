"""The trainer for XGBoost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.train._gbdt import BoostedTrainer, rounds_left, shard_frames, threads
from narke.train.data_parallel_trainer import framework_arguments
from narke.train.xgboost._report import RayTrainReportCallback
from narke.train.xgboost.config import XGBoostConfig
from narke.train.xgboost.xgboost_checkpoint import XGBoostCheckpoint

__all__ = ["LEGACY_XGBOOST_TRAINER_DEPRECATION_MESSAGE", "XGBoostTrainer"]

LEGACY_XGBOOST_TRAINER_DEPRECATION_MESSAGE = (
    "XGBoostTrainer(label_column=, params=) trains on a table; a train_loop_per_worker can do more."
)


def _train_table(config: dict[str, Any]) -> None:
    """In a worker: train on its part of the table."""
    import xgboost

    frames = shard_frames(config)
    matrices = {
        name: xgboost.DMatrix(features, label=label, **config["dmatrix_params"].get(name, {}))
        for name, (features, label) in frames.items()
    }
    model, rounds = rounds_left(config, XGBoostCheckpoint)
    callback = RayTrainReportCallback(frequency=config["frequency"], checkpoint_at_end=config["at_end"])
    more = dict(config["more"])
    more["callbacks"] = [*more.get("callbacks", ()), callback]
    more.setdefault("verbose_eval", False)
    xgboost.train(
        {"nthread": threads(), **config["params"]},
        matrices["train"],
        num_boost_round=rounds,
        evals=[(matrix, name) for name, matrix in matrices.items()],
        xgb_model=model,
        **more,
    )


class XGBoostTrainer(BoostedTrainer):
    """Runs a training function on workers that XGBoost's communicator joins, or trains on the columns of a dataset.

    Args:
        train_loop_per_worker: the function. Without it:
        label_column, params, num_boost_round: trains on ``datasets["train"]``, evaluates on all datasets each round.
        dmatrix_params: further arguments of DMatrix by dataset name.
        train_kwargs: of `xgboost.train`.
        xgboost_config: of the communicator.
        train_loop_config, scaling_config, run_config, datasets, dataset_config, validation_config, metadata,
            resume_from_checkpoint, preprocessor: see `DataParallelTrainer`. From a checkpoint, `num_boost_round` more
            rounds are trained.

    Raises:
        ValueError: neither a function nor a label column is given.
    """

    _backend = XGBoostConfig
    _checkpoint_class = XGBoostCheckpoint
    _train_table = staticmethod(_train_table)

    def __init__(
        self,
        train_loop_per_worker: Callable[[], Any] | Callable[[dict], Any] | None = None,
        *,
        train_loop_config: dict[str, Any] | None = None,
        xgboost_config: XGBoostConfig | None = None,
        scaling_config: Any = None,
        run_config: Any = None,
        datasets: dict[str, Any] | None = None,
        dataset_config: Any = None,
        validation_config: Any = None,
        metadata: dict[str, Any] | None = None,
        resume_from_checkpoint: Any = None,
        label_column: str | None = None,
        params: dict[str, Any] | None = None,
        num_boost_round: int | None = None,
        dmatrix_params: dict[str, dict[str, Any]] | None = None,
        preprocessor: Any = None,
        **train_kwargs: Any,
    ) -> None:
        super().__init__(**framework_arguments(locals(), "xgboost_config"))
