"""The trainer that runs a function on every worker."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from narke.train._data_config import DataConfig
from narke.train.backend import BackendConfig
from narke.train.base_trainer import BaseTrainer

__all__ = ["DataParallelTrainer", "framework_arguments"]


class DataParallelTrainer(BaseTrainer):
    """Runs a training function on each of several workers; each has a part of the datasets.

    Args:
        train_loop_per_worker: the function; takes nothing, or a dict.
        train_loop_config: the dict.
        backend_config: of the framework's process group.
        dataset_config: a DataConfig, or {name: DatasetConfig}.
        validation_config: what validates checkpoints.
        scaling_config, run_config, datasets, metadata, resume_from_checkpoint, preprocessor: see `BaseTrainer`.

    Raises:
        ValueError: the function takes more than one argument, or the configuration is no dict.
    """

    _backend: Callable[[], BackendConfig] = BackendConfig

    def __init__(
        self,
        train_loop_per_worker: Callable[[], Any] | Callable[[dict], Any],
        *,
        train_loop_config: dict[str, Any] | None = None,
        backend_config: BackendConfig | None = None,
        scaling_config: Any = None,
        dataset_config: Any = None,
        run_config: Any = None,
        datasets: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        resume_from_checkpoint: Any = None,
        validation_config: Any = None,
        preprocessor: Any = None,
    ) -> None:
        super().__init__(
            scaling_config=scaling_config,
            run_config=run_config,
            datasets=datasets,
            metadata=metadata,
            resume_from_checkpoint=resume_from_checkpoint,
            preprocessor=preprocessor,
        )
        _check_loop(train_loop_per_worker, train_loop_config)
        self.train_loop_per_worker = train_loop_per_worker
        self.train_loop_config = train_loop_config
        self.backend_config = backend_config or type(self)._backend()
        self.data_config = _as_data_config(dataset_config)
        self.validation_config = validation_config

    def _function(self) -> Callable[[], Any]:
        return _bound(self.train_loop_per_worker, self.train_loop_config)

    def _workers(self) -> tuple[int, int]:
        scaling = self.scaling_config
        count = scaling.num_workers
        return getattr(scaling, "min_workers", count), getattr(scaling, "max_workers", count)

    def _bundle(self) -> dict[str, float]:
        return self.scaling_config._resources_per_worker_not_none

    def training_loop(self) -> None:
        """The function that each worker runs, called here."""
        self._function()()


def framework_arguments(given: dict[str, Any], config: str = "") -> dict[str, Any]:
    """The arguments of a framework's trainer as its base takes them.

    Args:
        given: the `locals()` of the trainer's constructor.
        config: which argument is the framework's configuration: `backend_config` for `DataParallelTrainer`.
    """
    known = {name: value for name, value in given.items() if name not in ("self", "__class__", config)}
    return {**known, "backend_config": given[config]} if config else known


def _parameters(function: Callable) -> int | None:
    """How many arguments a function takes; None if that cannot be told."""
    try:
        return len(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return None


def _check_loop(function: Any, config: Any) -> None:
    if not callable(function):
        raise ValueError(f"train_loop_per_worker is a function, not {type(function).__name__}")
    if config is not None and not isinstance(config, dict):
        raise ValueError(f"train_loop_config is a dict, not {type(config).__name__}")
    count = _parameters(function)
    if count is not None and count > 1:
        raise ValueError(
            f"train_loop_per_worker takes nothing or one dict; {function!r} takes {count} arguments"
        )


def _bound(function: Callable, config: dict[str, Any] | None) -> Callable[[], Any]:
    return function if _parameters(function) == 0 else functools.partial(function, dict(config or {}))


def _as_data_config(config: Any) -> DataConfig:
    if config is None:
        return DataConfig()
    if not isinstance(config, dict):
        return config
    split = [name for name, each in config.items() if each.split]
    kept = [name for name, each in config.items() if each.split is False]
    return _Named(split, kept)


class _Named(DataConfig):
    """Splits by `narke.air.DatasetConfig`s; what they leave open is split if it is the dataset "train"."""

    def __init__(self, split: list[str], kept: list[str]) -> None:
        super().__init__()
        self._split, self._kept = split, kept

    def configure(self, datasets: dict[str, Any], *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        self._datasets_to_split = [
            name for name in datasets if name in self._split or (name == "train" and name not in self._kept)
        ]
        return super().configure(datasets, *args, **kwargs)
