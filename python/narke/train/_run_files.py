"""What a trainer has done with each report of its run: metrics filled in, files written, callbacks called."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from narke import cloudpickle
from narke.air.config import DEPRECATED
from narke.train import _storage
from narke.train._trial_files import Filler, TrialFiles
from narke.train._vault import Vault

if TYPE_CHECKING:
    from narke.train.base_trainer import BaseTrainer

__all__ = ["RunFiles", "stopper_of"]


class RunFiles:
    """The side of a run that its user looks at.

    Args:
        trainer: whose run it is.
        vault: of the run.
    """

    def __init__(self, trainer: BaseTrainer, vault: Vault) -> None:
        self._trainer = trainer
        self._context = trainer.train_run_context
        self._callbacks = [
            each for each in trainer.run_config.callbacks or [] if hasattr(each, "after_report")
        ]
        stop = getattr(trainer.run_config, "stop", None)
        self.stops = stop not in (None, DEPRECATED)
        self._stop = stopper_of(stop if self.stops else None)
        self._name = vault.storage.trial_dir_name or vault.storage.experiment_dir_name
        self._filler: Filler | None = None
        self._files: TrialFiles | None = None
        if trainer._is_first:
            config = {"train_loop_config": trainer.train_loop_config} if trainer.train_loop_config else {}
            self._filler = Filler(trainer._run_id[:5] + "_00000", config, vault.reports)
            self._files = TrialFiles(vault.storage, config)
            _store_trainer(trainer, vault.storage)

    def fill(self, metrics: dict[str, Any], folder: str | None) -> dict[str, Any]:
        """The metrics as results show them."""
        return self._filler(metrics, folder) if self._filler else dict(metrics)

    def stop(self, metrics: dict[str, Any]) -> bool:
        """Whether the run has reached its stop criterion."""
        return self._stop(self._name, metrics)

    def reported(self, ranks: list[dict[str, Any]], metrics: dict[str, Any], checkpoint: Any) -> None:
        """A report is complete."""
        if self._files is not None:
            self._files.add(metrics)
        for each in self._callbacks:
            each.after_report(run_context=self._context, metrics=ranks, checkpoint=checkpoint)

    def failed(self, errors: dict[int, Exception]) -> None:
        """Workers have failed."""
        for each in self._callbacks:
            each.after_exception(run_context=self._context, worker_exceptions=errors)

    def close(self, error: Exception | None) -> None:
        """The run has ended."""
        if self._files is not None:
            self._files.close(error)


def stopper_of(stop: Any) -> Any:
    """A function (trial id, metrics) -> whether to stop, of what users give as a stop criterion.

    Args:
        stop: {metric: value to reach}, a function, a stopper of Tune, or None.

    Raises:
        TypeError: it is something else.
    """
    if stop is None:
        return lambda _name, _metrics: False
    if isinstance(stop, dict):
        return lambda _name, metrics: any(
            metrics[name] >= value for name, value in stop.items() if metrics.get(name) is not None
        )
    if callable(stop):
        return lambda name, metrics: bool(stop(name, metrics))
    raise TypeError(
        f"RunConfig.stop is a dict of metrics, a function or a stopper, not {type(stop).__name__}"
    )


def _store_trainer(trainer: BaseTrainer, storage: _storage.StorageContext) -> None:
    """Store what `restore` makes the trainer of again."""
    arguments = trainer._arguments()
    try:
        data = cloudpickle.dumps((type(trainer), arguments, storage.trial_dir_name))
    except (TypeError, AttributeError, pickle.PicklingError):
        # callbacks may hold what does not pickle: a restored run goes on without them
        arguments["run_config"] = replace(trainer.run_config, callbacks=None)
        data = cloudpickle.dumps((type(trainer), arguments, storage.trial_dir_name))
    _storage.write_bytes(storage.storage_filesystem, f"{storage.experiment_fs_path}/trainer.pkl", data)
