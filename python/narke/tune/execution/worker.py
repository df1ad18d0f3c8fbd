"""`TrialHost`: the process that runs trials, one after the other.

The controller calls it and waits for each answer. A host serves many trials: each gets a new trainable (or, with
``reuse_actors=True``, the old one with a new configuration), its own working folder and environment.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
from typing import Any

from narke.tune._checkpoints import TrainingResult
from narke.tune.result import DONE
from narke.tune.trainable._session import Session, TrialInfo, set_session
from narke.tune.trainable.function_trainable import FunctionTrainable
from narke.tune.trainable.trainable import Trainable

__all__ = ["Outcome", "TrialHost"]

# What a step gave: the results, each with the checkpoint that came with it (a second one says that the function was
# over at once after the first), and whether the trainable is gone and the host is free.
Outcome = tuple[list[tuple[dict[str, Any], TrainingResult | None]], bool]


class TrialHost:
    """Runs trials of the given trainables.

    Args:
        trainables: classes by registered name.
        reuse: whether a trainable may become another trial by its `reset_config`.
        common: what is the same for all its trials.
    """

    def __init__(
        self, trainables: dict[str, type[Trainable]], reuse: bool = False, common: TrialInfo | None = None
    ) -> None:
        self._classes = trainables
        self._reuse = reuse
        self._common = common or TrialInfo()
        self._is_free = False  # the last trial has ended by itself, and nothing is left of it
        self._trainable: Trainable | None = None
        self._info = TrialInfo()
        self._folder = os.getcwd()
        os.environ.setdefault("TUNE_ORIG_WORKING_DIR", self._folder)
        self._environment = _environment().copy()
        self._threads = threading.active_count()
        self._outputs: list[Any] = []

    def ready(self) -> int:
        """Return the process's number: this host can take a trial."""
        return os.getpid()

    def start(
        self,
        name: str,
        config: dict[str, Any],
        facts: dict[str, Any],
        restore: TrainingResult | None,
        log_to_file: tuple[str | None, str | None],
        queued: bool = False,
    ) -> Outcome | None:
        """Begin a trial and run its first step.

        Args:
            name: of the trainable.
            config: the configuration.
            facts: fields of the trial's `TrialInfo` beside the common ones.
            restore: the checkpoint to begin from.
            log_to_file: files for its output, relative to its folder.
            queued: this was called before it was known whether the trial before would be over.

        Returns:
            what the step gave; None for a queued call after which the trial before goes on, or has left something.
        """
        if queued and not self._is_free:
            return None
        self._is_free = False
        info = dataclasses.replace(self._common, **facts)
        trial_config = {**config, "__trial_info__": info}
        if self._reuse and self._trainable is not None and not isinstance(self._trainable, FunctionTrainable):
            self._restore_process()
            self._enter(info, log_to_file)
            self._become(self._trainable, trial_config)
        else:
            if self._trainable is not None:
                self._leave()
            self._enter(info, log_to_file)
            self._trainable = self._classes[name](trial_config)
        self._info = info
        if restore is not None and restore.checkpoint is not None:
            self._trainable.restore(restore)
        return self.step()

    @staticmethod
    def _become(trainable: Trainable, config: dict[str, Any]) -> None:
        if not trainable.reset(config):
            raise RuntimeError(
                f"reuse_actors=True needs a reset_config(new_config) that returns True; {type(trainable).__name__} "
                "has none"
            )

    def step(self) -> Outcome:
        """Run one step, and the one in which a function finds that it is over."""
        trainable = self._trainable
        assert trainable is not None
        if not isinstance(trainable, FunctionTrainable):
            return [(trainable.train(), None)], False
        given = [_step(trainable)]
        if not given[0][0].get(DONE) and trainable.has_ended():
            given.append(_step(trainable))
        self._is_free = bool(given[-1][0].get(DONE)) and self.stop()
        return given, self._is_free

    def save(self) -> TrainingResult | None:
        """Make a checkpoint."""
        assert self._trainable is not None
        if self._trainable._storage is None:
            self._trainable._storage = self._info.storage()
        return self._trainable.save()

    def export(self, formats: list[str]) -> dict[str, str]:
        """Export the trial's model."""
        assert self._trainable is not None
        return self._trainable.export_model(formats)

    def stop(self) -> bool:
        """End the trial; returns whether this host can take another one."""
        if self._reuse and self._trainable is not None and not isinstance(self._trainable, FunctionTrainable):
            return True
        return self._leave()

    def _leave(self) -> bool:
        trainable, self._trainable = self._trainable, None
        ended = True
        if isinstance(trainable, FunctionTrainable):
            ended = trainable.end_function()
            if type(trainable).cleanup is not FunctionTrainable.cleanup:
                trainable.cleanup()
        elif trainable is not None:
            trainable.stop()
        set_session(None)
        self._restore_process()
        # A thread that is left may still use what the next trial would change.
        return ended and threading.active_count() <= self._threads

    def _enter(self, info: TrialInfo, log_to_file: tuple[str | None, str | None]) -> None:
        if info.local_dir is not None:
            if os.environ.get("RAY_CHDIR_TO_TRIAL_DIR", "1") != "0":
                _go_into(info.local_dir)
            else:
                os.makedirs(info.local_dir, exist_ok=True)
            self._redirect(info.local_dir, log_to_file)
        if self._classes and not any(issubclass(each, FunctionTrainable) for each in self._classes.values()):
            set_session(Session(info))

    def _redirect(self, folder: str, log_to_file: tuple[str | None, str | None]) -> None:
        from narke.tune.utils.util import Tee

        for stream, file in (("stdout", log_to_file[0]), ("stderr", log_to_file[1])):
            if file is not None:
                opened = open(os.path.join(folder, file), "a", encoding="utf-8", buffering=1)
                self._outputs.append((stream, getattr(sys, stream), opened))
                setattr(sys, stream, Tee(getattr(sys, stream), opened))

    def _restore_process(self) -> None:
        while self._outputs:
            stream, original, opened = self._outputs.pop()
            setattr(sys, stream, original)
            opened.close()
        if _environment() != self._environment:
            os.environ.clear()
            os.environ.update(
                {os.fsdecode(name): os.fsdecode(each) for name, each in self._environment.items()}
            )
        os.chdir(self._folder)


def _environment() -> dict[bytes, bytes]:
    """The environment's own table: a copy through `os.environ` takes longer than all else at the end of a trial."""
    return os.environ._data  # type: ignore[attr-defined]


def _go_into(folder: str) -> None:
    """Make a folder the working one; it is there already if the driver is on this machine."""
    try:
        os.chdir(folder)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        os.chdir(folder)


def _step(trainable: FunctionTrainable) -> tuple[dict[str, Any], TrainingResult | None]:
    result, made = trainable.train(), trainable.take_checkpoint()
    if made is not None:
        made.metrics = result
    return result, made
