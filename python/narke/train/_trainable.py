"""Trainers as trials of Tune.

A trial's configuration changes the trainer's arguments: dictionaries are merged, other values replaced. The trial
itself holds nothing; its placement group has a bundle for each worker. Workers store checkpoints in the trial's
folder, and Tune, which is told of them, keeps or deletes them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from narke.train import _session
from narke.train._config import CheckpointConfig
from narke.train.v2.api.report_config import CheckpointUploadMode

if TYPE_CHECKING:
    from narke.train.base_trainer import BaseTrainer

__all__ = ["trainable_of"]


def trainable_of(trainer: BaseTrainer) -> Callable[[dict[str, Any]], None]:
    """A function trainable whose trials run a trainer like this.

    Args:
        trainer: whose arguments trials begin with.
    """
    kind = type(trainer)
    arguments = trainer._arguments()
    arguments.pop("dataset_names")
    arguments["datasets"] = trainer.datasets or None

    def train(config: dict[str, Any]) -> None:
        _run(kind(**_merged(arguments, config)))

    def resources(config: dict[str, Any]) -> Any:
        from narke.train._worker_group import whole_room
        from narke.tune.execution.placement_groups import PlacementGroupFactory

        each = kind(**_merged(arguments, {k: v for k, v in config.items() if k == "scaling_config"}))
        least, most = each._workers()
        workers = most if least == most else max(least, whole_room(each._group(most), most))
        return PlacementGroupFactory(
            [{}, *([each._bundle()] * workers)], strategy=each.scaling_config.placement_strategy
        )

    from narke.tune.trainable.util import with_resources

    train.__name__ = train.__qualname__ = kind.__name__
    made = with_resources(train, resources)
    made._is_trainer = True
    return made


def _merged(arguments: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    found = dict(arguments)
    for name, value in config.items():
        old = found.get(name)
        if name == "scaling_config" and isinstance(value, dict) and old is not None:
            found[name] = replace(old, **value)
        else:
            found[name] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return found


def _run(trainer: BaseTrainer) -> None:
    """In a trial: conduct the run, and report to Tune."""
    from narke.train._controller import Controller
    from narke.train._data_config import read_by_workers
    from narke.train._vault import Vault
    from narke.util.placement_group import get_current_placement_group

    trial = _session.require("a trainer's trial")
    trainer._run_id = secrets.token_hex(16)
    trainer.setup()
    read_by_workers(trainer.datasets)
    trainer.preprocess_datasets()
    began = trial.get_checkpoint()
    storage = trial.get_context().get_storage()
    vault = Vault(storage, CheckpointConfig(), True, goes_on=False, files=trainer._checkpoint_files())
    spec = trainer._spec(vault, _TrialSide(trial))
    within = get_current_placement_group()
    count = within.bundle_count  # the trial holds a bundle for each worker, no more and no less
    group = replace(spec.group, within=within)
    spec = replace(
        spec, group=group, least=count, most=count, checkpoint=began or spec.checkpoint, max_failures=0
    )
    error = Controller(spec).run().error
    if error is not None:
        raise error


class _TrialSide:
    """The side of a run that its trial looks at; see `narke.train._run_files.RunFiles`."""

    stops = True  # each report waits for Tune's decision

    def __init__(self, trial: _session.Session) -> None:
        self._trial = trial

    def fill(self, metrics: dict[str, Any], folder: str | None) -> dict[str, Any]:
        return dict(metrics)

    def stop(self, metrics: dict[str, Any]) -> bool:
        return False

    def reported(self, ranks: list[dict[str, Any]], metrics: dict[str, Any], checkpoint: Any) -> None:
        self._trial.report(
            metrics, checkpoint=checkpoint, checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD
        )

    def failed(self, errors: dict[int, Exception]) -> None:
        return None
