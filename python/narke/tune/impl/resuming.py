"""Going on with an experiment: its trials, its searcher and its scheduler as they were."""

from __future__ import annotations

import glob
import logging
import os
from typing import TYPE_CHECKING, Any

from narke.tune.execution.journal import State
from narke.tune.experiment.trial import Trial
from narke.tune.search.basic_variant import BasicVariantGenerator
from narke.tune.search.searcher import can_add_points
from narke.tune.search.util import flattened
from narke.tune.tune_config import ResumeConfig

if TYPE_CHECKING:
    from narke.tune.execution.tune_controller import TuneController

__all__ = ["put_trials_back", "resume_config_of"]

logger = logging.getLogger(__name__)


def resume_config_of(resume: bool | str | None) -> tuple[bool, ResumeConfig]:
    """What the `resume` argument of `tune.run` means.

    Args:
        resume: True, "LOCAL", "REMOTE", "AUTO", "ERRORED_ONLY", "PROMPT", with "+ERRORED" or "+RESTART_ERRORED" and the
            like.

    Returns:
        (whether it is an error that there is nothing to go on with, what becomes of trials).

    Raises:
        ValueError: another text.
    """
    kinds = ResumeConfig.ResumeType
    words = "LOCAL" if resume is True else str(resume).upper()
    base, *more = words.split("+")
    if base not in ("LOCAL", "REMOTE", "AUTO", "ERRORED_ONLY", "PROMPT"):
        raise ValueError(f"resume is {resume!r}; it must be a bool, AUTO, LOCAL, REMOTE or ERRORED_ONLY")
    config = ResumeConfig()
    if base == "ERRORED_ONLY":
        config.unfinished, config.errored = kinds.SKIP, kinds.RESTART
    for word in more:
        if word == "ERRORED":
            config.errored = kinds.RESUME
        elif word == "RESTART_ERRORED":
            config.errored = kinds.RESTART
        elif word in ("ERRORED_ONLY", "RESTART_ERRORED_ONLY"):
            config.unfinished = kinds.SKIP
            config.errored = kinds.RESTART if word.startswith("RESTART") else kinds.RESUME
        else:
            raise ValueError(f"resume is {resume!r}: {word!r} is unknown; there are ERRORED, RESTART_ERRORED")
    return base != "AUTO", config


def put_trials_back(
    controller: TuneController, state: State, storage: Any, policy: ResumeConfig, folder: str
) -> None:
    """Give a controller the trials of an earlier run, and its searcher and scheduler what they knew.

    Args:
        controller: it has its experiments already.
        state: of the earlier run.
        storage: the experiment's, now.
        policy: what becomes of the trials.
        folder: local, with the states of searcher, scheduler and callbacks.
    """
    controller.resume(policy)
    trials = [Trial.from_parts(*parts) for parts in state.parts()]
    unfinished = {trial.trial_id for trial in trials if not trial.is_finished()}
    for trial in trials:
        _apply(policy, trial, storage)
    _restore_search(controller, trials, folder, state.run)
    _restore_scheduler(controller, folder)
    if controller._callbacks.can_restore(folder):
        controller._callbacks.restore_from_dir(folder)
    for trial in trials:
        controller.add_trial(trial)
        if trial.is_finished() and trial.trial_id in unfinished:
            controller._write(trial)  # it shall not go on


def _apply(policy: ResumeConfig, trial: Trial, storage: Any) -> None:
    """Give a restored trial its storage, and the status with which it goes on or stays."""
    import copy

    trial.set_storage(copy.copy(storage))
    assert trial.storage is not None
    trial.storage.current_checkpoint_index = trial.restored_index
    trial.run_metadata.num_failures_after_restore = 0
    kinds = ResumeConfig.ResumeType
    if trial.status == Trial.TERMINATED:
        chosen = policy.finished
    elif trial.status == Trial.ERROR:
        chosen = policy.errored
    else:
        chosen = policy.unfinished
    if chosen == kinds.RESTART:
        _forget(trial)
    if chosen in (kinds.RESUME, kinds.RESTART):
        trial.run_metadata.error_filename = trial.run_metadata.pickled_error_filename = None
        trial.status = Trial.PENDING
    elif not trial.is_finished():
        trial.status = Trial.TERMINATED


def _forget(trial: Trial) -> None:
    from narke.tune._checkpoints import CheckpointList
    from narke.tune.trainable.metadata import RunMetadata

    trial.run_metadata = RunMetadata()
    trial.checkpoints = CheckpointList(trial.checkpoint_config)


def _restore_search(
    controller: TuneController, trials: list[Trial], folder: str, facts: dict[str, Any]
) -> None:
    search = controller.search_alg
    if isinstance(search, BasicVariantGenerator):
        numbered = [trial.trial_id.rsplit("_", 1) for trial in trials if "_" in trial.trial_id]
        if numbered:
            made = max(int(number) for _, number in numbered) + 1
            search.set_state({"prefix": numbered[0][0] + "_", "made": made})
            search._live = {trial.trial_id for trial in trials if not trial.is_finished()}
        if facts.get("all_made") == search.total_samples:
            search.set_exhausted()
        return
    known: set[str] = set()
    if search.has_checkpoint(folder):
        search.restore_from_dir(folder)
        known = _trials_at(folder)
    counter = getattr(search, "_counter", None)
    if counter is not None:
        search._counter = len(trials)  # type: ignore[attr-defined]
        search._finished = False
    _teach(search, [trial for trial in trials if trial.is_finished() and trial.trial_id not in known])


def _trials_at(folder: str) -> set[str]:
    """The trials that had ended when the searcher's state was written."""
    found = glob.glob(os.path.join(folder, "searcher-seen-*.txt"))
    if not found:
        return set()
    with open(max(found, key=os.path.getmtime), encoding="utf-8") as file:
        return set(file.read().split())


def _teach(search: Any, trials: list[Trial]) -> None:
    """Tell a searcher of trials that ended after its state was written."""
    searcher = getattr(search, "searcher", None)
    if searcher is None or not trials or not can_add_points(searcher) or not isinstance(searcher.metric, str):
        return
    for trial in trials:
        value = flattened(trial.last_result).get(searcher.metric)
        if value is not None and trial.status == Trial.TERMINATED:
            try:
                searcher.add_evaluated_point(flattened(trial.evaluated_params), value)
            except (NotImplementedError, ValueError, KeyError) as error:
                logger.warning("the searcher could not learn from the finished trial %s: %s", trial, error)
                return


def _restore_scheduler(controller: TuneController, folder: str) -> None:
    found = glob.glob(os.path.join(folder, "scheduler-state-*.pkl"))
    if found and controller.scheduler_alg.is_restorable:
        controller.scheduler_alg.restore(max(found, key=os.path.getmtime))
