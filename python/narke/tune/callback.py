"""`Callback`: called when things happen in an experiment."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from narke.tune._files import write_whole

if TYPE_CHECKING:
    from narke.train._checkpoint import Checkpoint
    from narke.tune.experiment.trial import Trial
    from narke.tune.stopper import Stopper

__all__ = ["Callback", "CallbackList"]


class Callback:
    """Called by the controller, in the driver; the base of loggers and of users' callbacks.

    `iteration` counts the controller's steps; `trials` are all trials.
    """

    def setup(
        self,
        stop: Stopper | None = None,
        num_samples: int | None = None,
        total_num_samples: int | None = None,
        **info: Any,
    ) -> None:
        """Before the first trial.

        Args:
            stop: the criterion.
            num_samples: samples of the space.
            total_num_samples: trials.
            info: further facts.
        """

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Before each step of the controller."""

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """After each step of the controller."""

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial began, or went on."""

    def on_trial_restore(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial went back to a checkpoint."""

    def on_trial_save(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial's checkpoint was taken note of."""

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial reported."""

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial ended well."""

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial failed and will begin again."""

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial failed for good."""

    def on_checkpoint(
        self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Checkpoint, **info: Any
    ) -> None:
        """A trial made a checkpoint."""

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """All ended."""

    def get_state(self) -> dict | None:
        """Return what shall survive a crash; None for nothing."""
        return None

    def set_state(self, state: dict) -> None:
        """Take what `get_state` gave before the crash."""


class CallbackList(Callback):
    """Calls several callbacks.

    Args:
        callbacks: they, in the order they are called.
    """

    IS_CALLBACK_CONTAINER = True
    CKPT_FILE_TMPL = "callback-states-{}.pkl"

    def __init__(self, callbacks: list[Callback]) -> None:
        self._callbacks = callbacks

    def setup(self, **info: Any) -> None:  # type: ignore[override]
        """Set all up; one whose `setup` takes no keywords is called without."""
        for callback in self._callbacks:
            try:
                callback.setup(**info)
            except TypeError as error:
                if "argument" not in str(error):
                    raise
                warnings.warn(f"setup() of {type(callback).__name__} should take **info", stacklevel=2)
                callback.setup()

    def on_step_begin(self, **info: Any) -> None:  # type: ignore[override]
        """Call all."""
        for callback in self._callbacks:
            callback.on_step_begin(**info)

    def on_step_end(self, **info: Any) -> None:  # type: ignore[override]
        """Call all."""
        for callback in self._callbacks:
            callback.on_step_end(**info)

    def on_trial_start(self, **info: Any) -> None:  # type: ignore[override]
        """Call all."""
        for callback in self._callbacks:
            callback.on_trial_start(**info)

    def on_trial_restore(self, **info: Any) -> None:  # type: ignore[override]
        """Call all."""
        for callback in self._callbacks:
            callback.on_trial_restore(**info)

    def on_trial_save(self, **info: Any) -> None:  # type: ignore[override]
        """Call all."""
        for callback in self._callbacks:
            callback.on_trial_save(**info)

    def on_trial_result(self, **info: Any) -> None:  # type: ignore[override]
        """Call all."""
        for callback in self._callbacks:
            callback.on_trial_result(**info)

    def on_trial_complete(self, **info: Any) -> None:  # type: ignore[override]
        """Call all."""
        for callback in self._callbacks:
            callback.on_trial_complete(**info)

    def on_trial_recover(self, **info: Any) -> None:  # type: ignore[override]
        """Call all."""
        for callback in self._callbacks:
            callback.on_trial_recover(**info)

    def on_trial_error(self, **info: Any) -> None:  # type: ignore[override]
        """Call all."""
        for callback in self._callbacks:
            callback.on_trial_error(**info)

    def on_checkpoint(self, **info: Any) -> None:  # type: ignore[override]
        """Call all."""
        for callback in self._callbacks:
            callback.on_checkpoint(**info)

    def on_experiment_end(self, **info: Any) -> None:  # type: ignore[override]
        """Call all."""
        for callback in self._callbacks:
            callback.on_experiment_end(**info)

    def get_state(self) -> dict | None:
        """The states of those that have one, by place."""
        states = {at: callback.get_state() for at, callback in enumerate(self._callbacks)}
        states = {at: state for at, state in states.items() if state}
        return states or None

    def set_state(self, state: dict) -> None:
        """Give each its state back."""
        for at, each in state.items():
            if at < len(self._callbacks):
                self._callbacks[at].set_state(each)

    def can_restore(self, checkpoint_dir: str) -> bool:
        """Whether a folder holds states."""
        return bool(glob.glob(os.path.join(checkpoint_dir, self.CKPT_FILE_TMPL.format("*"))))

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Write the states into a folder, if there are any."""
        from narke import cloudpickle

        state = self.get_state()
        if state:
            path = os.path.join(checkpoint_dir, self.CKPT_FILE_TMPL.format(session_str))
            write_whole(path, cloudpickle.dumps(state))

    def restore_from_dir(self, checkpoint_dir: str) -> None:
        """Give back the newest states in a folder.

        Raises:
            RuntimeError: there are none.
        """
        from narke import cloudpickle

        found = glob.glob(os.path.join(checkpoint_dir, self.CKPT_FILE_TMPL.format("*")))
        if not found:
            raise RuntimeError(f"there are no states of callbacks in {checkpoint_dir}")
        with open(max(found, key=os.path.getmtime), "rb") as file:
            self.set_state(cloudpickle.load(file))

    def __len__(self) -> int:
        return len(self._callbacks)

    def __getitem__(self, i: int) -> Callback:
        return self._callbacks[i]

    def __iter__(self) -> Iterator[Callback]:
        return iter(self._callbacks)
