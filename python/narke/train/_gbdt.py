"""What the trainers of boosted trees share: tables out of datasets, and trainers that need no function."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from narke.train._booster_checkpoint import BoosterCheckpoint
from narke.train._frames import frame_of
from narke.train._session import require
from narke.train.data_parallel_trainer import DataParallelTrainer

if TYPE_CHECKING:
    import pandas as pd

    from narke.train._checkpoint import Checkpoint

__all__ = ["BoostedTrainer", "rounds_left", "shard_frames", "threads"]


class BoostedTrainer(DataParallelTrainer):
    """A trainer of boosted trees, of a function or of a table's columns.

    Subclasses say what the function is when none is given (`_train_table`), and which checkpoints they read.
    """

    _FUNCTION = "train_loop_per_worker"
    _checkpoint_class: type[BoosterCheckpoint]
    _train_table: Callable[[dict[str, Any]], None]

    def __init__(
        self,
        train_loop_per_worker: Callable | None,
        *,
        label_column: str | None,
        params: dict[str, Any] | None,
        num_boost_round: int | None,
        train_kwargs: dict[str, Any],
        dmatrix_params: dict[str, dict[str, Any]] | None = None,
        **arguments: Any,
    ) -> None:
        self.label_column = label_column
        self.params = dict(params or {})
        self.num_boost_round = num_boost_round or 10
        self.dmatrix_params = dmatrix_params or {}
        self.train_kwargs = train_kwargs
        self._of_table = train_loop_per_worker is None
        if self._of_table and self.label_column is None:
            raise ValueError(
                f"{type(self).__name__} needs a train_loop_per_worker, or label_column= and params= to train on the "
                "columns of datasets['train']"
            )
        if self._of_table and "train" not in (arguments.get("datasets") or {}):
            raise ValueError(
                f"{type(self).__name__} trains on the dataset 'train'; datasets= has "
                f"{sorted(arguments.get('datasets') or {})}"
            )
        self._table_config: Any = None
        super().__init__(train_loop_per_worker or type(self)._no_function, **arguments)
        if self._of_table:
            self._is_first = True
            self.train_loop_per_worker = None  # type: ignore[assignment]

    @staticmethod
    def _no_function() -> None:
        """Stands for the function while the other arguments are checked."""

    def _default_run_config(self) -> Any:
        from narke.air.config import RunConfig

        return RunConfig() if self._of_table else super()._default_run_config()

    def _function(self) -> Callable[[], Any]:
        if not self._of_table:
            return super()._function()
        checkpoints = self.run_config.checkpoint_config
        frequency = getattr(checkpoints, "checkpoint_frequency", 0)
        at_end = getattr(checkpoints, "checkpoint_at_end", None)
        return functools.partial(
            type(self)._train_table,
            {
                "label_column": self.label_column,
                "params": self.params,
                "rounds": self.num_boost_round,
                "dmatrix_params": self.dmatrix_params,
                "more": self.train_kwargs,
                "started_from": self.starting_checkpoint,
                "frequency": frequency if isinstance(frequency, int) else 0,
                "at_end": at_end if isinstance(at_end, bool) else True,
                "names": list(self.datasets),
            },
        )

    @classmethod
    def get_model(cls, checkpoint: Checkpoint) -> Any:
        """The booster of a checkpoint that a run reported.

        Args:
            checkpoint: of a result.
        """
        return cls._checkpoint_class.from_checkpoint(checkpoint).get_model()


def rounds_left(config: dict[str, Any], checkpoints: type[BoosterCheckpoint]) -> tuple[Any, int]:
    """The model to begin with, and how many rounds are left of this run.

    Args:
        config: of `BoostedTrainer`.
        checkpoints: the class that reads the trainer's checkpoints.
    """
    begun = require("training").get_checkpoint()
    if begun is None:
        return None, config["rounds"]
    model = checkpoints.from_checkpoint(begun).get_model()
    before = config["started_from"]
    base = checkpoints.rounds_of(checkpoints.from_checkpoint(before).get_model()) if before else 0
    return model, base + config["rounds"] - checkpoints.rounds_of(model)


def shard_frames(config: dict[str, Any]) -> dict[str, tuple[pd.DataFrame, pd.Series]]:
    """This worker's part of each dataset as features and labels, "train" first.

    Args:
        config: of `BoostedTrainer`.

    Raises:
        KeyError: a dataset lacks the label column; the text names the columns it has.
        RuntimeError: this worker got no rows to train on.
    """
    session = require("a table's training")
    found = {}
    for name in sorted(config["names"], key=lambda each: each != "train"):
        frame = frame_of(session.get_dataset_shard(name))
        label = config["label_column"]
        if name == "train" and not len(frame):
            raise RuntimeError(
                "this worker got no rows of the dataset 'train': use fewer workers, or more rows"
            )
        if label not in frame.columns:
            raise KeyError(
                f"the dataset {name!r} has no column {label!r} (label_column); it has {list(frame.columns)}"
            )
        found[name] = (frame.drop(columns=[label]), frame[label])
    return found


def threads() -> int:
    """How many threads this worker may use: its CPUs."""
    import narke

    return max(
        1, int(narke.get_runtime_context().get_assigned_resources().get("CPU", 0) or os.cpu_count() or 1)
    )
