"""What a trial is, as plain values that JSON can hold, and a trial made of them again.

Three parts: what trials of an experiment have in common, what is a trial's own, and what became of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narke.tune._checkpoints import CheckpointList, TrainingResult
from narke.tune.trainable.metadata import RunMetadata

if TYPE_CHECKING:
    from narke.tune.experiment.trial import Trial

__all__ = ["common_state", "own_state", "put_state", "runtime_state"]

_COMMON = (
    "stub",
    "trainable_name",
    "stopping_criterion",
    "checkpoint_config",
    "placement_group_factory",
    "export_formats",
    "restore_path",
    "log_to_file",
    "max_failures",
    "_setup_default_resource",
)
_OWN = ("trial_id", "evaluated_params", "relative_logdir", "custom_trial_name", "custom_dirname")


def common_state(trial: Trial) -> dict[str, Any]:
    """What a trial usually has in common with others of its experiment."""
    return {name: getattr(trial, name) for name in _COMMON}


def own_state(trial: Trial) -> dict[str, Any]:
    """What is a trial's own and does not change; names that are not set are left out."""
    found = {name: getattr(trial, name) for name in _OWN}
    return {name: value for name, value in found.items() if value is not None}


def runtime_state(trial: Trial) -> dict[str, Any]:
    """What became of a trial, with its configuration, which may change; empty parts are left out."""
    state = trial.run_metadata.to_json()
    result = state["last_result"]
    if "config" in result and result["config"] is trial.config:
        state["last_result"] = {name: value for name, value in result.items() if name != "config"}
    state["status"] = trial.status
    state["config"] = trial.config
    state["experiment_tag"] = trial.experiment_tag
    if trial.checkpoints.results:
        state["checkpoints"] = [_plain(result) for result in trial.checkpoints.results]
    if trial.checkpoints.latest is not None:
        state["latest"] = _plain(trial.checkpoints.latest)
    if trial.storage is not None and trial.storage.current_checkpoint_index >= 0:
        state["checkpoint_index"] = trial.storage.current_checkpoint_index
    return state


def put_state(
    trial: Trial, common: dict[str, Any], own: dict[str, Any], runtime: dict[str, Any], stub: bool
) -> None:
    """Give a trial that is just being made all its attributes but the storage.

    Args:
        trial: its temporary state is there already.
        common, own, runtime: the parts; the trial may keep what is in the last two.
        stub: without its trainable, to look at results only.
    """
    attributes = vars(trial)
    attributes.update(common)
    attributes.update(custom_trial_name=None, custom_dirname=None)
    attributes.update(own)
    trial.stub = stub or common["stub"]
    trial.export_formats = list(common["export_formats"])
    trial.run_metadata = RunMetadata.from_json(runtime)
    trial.status = runtime["status"]
    trial.config = runtime["config"]
    trial.experiment_tag = runtime["experiment_tag"]
    trial.checkpoints = CheckpointList(trial.checkpoint_config)
    trial.checkpoints.results = [_result_of(each) for each in runtime.get("checkpoints", ())]
    trial.checkpoints.latest = _latest_of(trial.checkpoints.results, runtime.get("latest"))
    trial.restored_index = runtime.get("checkpoint_index", -1)


def _plain(result: TrainingResult) -> dict[str, Any]:
    checkpoint = result.checkpoint
    return {
        "class": type(checkpoint) if type(checkpoint).__name__ != "Checkpoint" else None,
        "path": checkpoint.path if checkpoint else None,
        "filesystem": checkpoint.filesystem
        if checkpoint and checkpoint.filesystem.type_name != "local"
        else None,
        "metrics": result.metrics,
    }


def _result_of(state: dict[str, Any]) -> TrainingResult:
    from narke.train._checkpoint import Checkpoint

    kind = state["class"] or Checkpoint
    found = kind(state["path"], state["filesystem"]) if state["path"] else None
    return TrainingResult(found, state["metrics"])


def _latest_of(results: list[TrainingResult], state: dict[str, Any] | None) -> TrainingResult | None:
    if state is None:
        return None
    found = [each for each in results if each.checkpoint and each.checkpoint.path == state["path"]]
    return found[-1] if found else _result_of(state)
