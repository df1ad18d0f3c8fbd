"""The trainer for LightGBM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.train._gbdt import BoostedTrainer, rounds_left, shard_frames, threads
from narke.train.data_parallel_trainer import framework_arguments
from narke.train.lightgbm._report import RayTrainReportCallback, normalize_pandas_for_lightgbm
from narke.train.lightgbm.config import LightGBMConfig, get_network_params
from narke.train.lightgbm.lightgbm_checkpoint import LightGBMCheckpoint

__all__ = ["LEGACY_LIGHTGBM_TRAINER_DEPRECATION_MESSAGE", "LightGBMTrainer"]

LEGACY_LIGHTGBM_TRAINER_DEPRECATION_MESSAGE = (
    "LightGBMTrainer(label_column=, params=) trains on a table; a train_loop_per_worker can do more."
)


def _train_table(config: dict[str, Any]) -> None:
    """In a worker: train on its part of the table."""
    import lightgbm

    sets: dict[str, Any] = {}
    for name, (features, label) in shard_frames(config).items():
        table = normalize_pandas_for_lightgbm(features)
        sets[name] = lightgbm.Dataset(table, label=label.to_numpy(), reference=sets.get("train"))
    model, rounds = rounds_left(config, LightGBMCheckpoint)
    callback = RayTrainReportCallback(frequency=config["frequency"], checkpoint_at_end=config["at_end"])
    more = dict(config["more"])
    more["callbacks"] = [*more.get("callbacks", ()), callback]
    lightgbm.train(
        {"num_threads": threads(), "verbosity": -1, **config["params"], **get_network_params()},
        sets["train"],
        num_boost_round=rounds,
        valid_sets=list(sets.values()),
        valid_names=list(sets),
        init_model=model,
        **more,
    )


class LightGBMTrainer(BoostedTrainer):
    """Runs a training function on workers that LightGBM's network joins, or trains on the columns of a dataset.

    Args:
        train_loop_per_worker: the function; gives `get_network_params` to `lightgbm.train`. Without it:
        label_column, params, num_boost_round: trains on ``datasets["train"]``, evaluates on all datasets each round.
        train_kwargs: of `lightgbm.train`.
        lightgbm_config: of the network.
        train_loop_config, scaling_config, run_config, datasets, dataset_config, validation_config, metadata,
            resume_from_checkpoint, preprocessor: see `DataParallelTrainer`. From a checkpoint, `num_boost_round` more
            rounds are trained.

    Raises:
        ValueError: neither a function nor a label column is given.
    """

    _backend = LightGBMConfig
    _checkpoint_class = LightGBMCheckpoint
    _train_table = staticmethod(_train_table)

    def __init__(
        self,
        train_loop_per_worker: Callable[[], Any] | Callable[[dict], Any] | None = None,
        *,
        train_loop_config: dict[str, Any] | None = None,
        lightgbm_config: LightGBMConfig | None = None,
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
        preprocessor: Any = None,
        **train_kwargs: Any,
    ) -> None:
        super().__init__(**framework_arguments(locals(), "lightgbm_config"))
