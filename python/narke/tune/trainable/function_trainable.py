"""`FunctionTrainable`: runs a function as a trial."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

from narke.tune._checkpoints import TrainingResult
from narke.tune.result import DEFAULT_METRIC, DONE, RESULT_DUPLICATE
from narke.tune.trainable._session import Session, set_session
from narke.tune.trainable.trainable import Trainable

__all__ = [
    "NULL_MARKER",
    "TEMP_MARKER",
    "FunctionTrainable",
    "wrap_function",
]

NULL_MARKER = ".null_marker"
TEMP_MARKER = ".temp_marker"
ERROR_REPORT_TIMEOUT = 10
ERROR_FETCH_TIMEOUT = 1
RESULT_FETCH_TIMEOUT = 0.2
_SOON_S = 0.0005


class FunctionTrainable(Trainable):
    """Runs `_trainable_func` in a thread; each report is an iteration."""

    _name = "func"

    def setup(self, config: dict[str, Any]) -> None:
        """Make the session; the function starts with the first step."""
        self._session = Session(self._trial_info, storage=self._storage)
        self._last_checkpoint: TrainingResult | None = None
        set_session(self._session)

    def _trainable_func(self, config: dict[str, Any]) -> Any:
        """The function; `wrap_function` implements it."""
        raise NotImplementedError

    def step(self) -> dict[str, Any]:
        """Let the function run until its next report or its end."""
        if not self._session.has_started:
            self._session.start(lambda: self._trainable_func(self.config))
        kind, value = self._session.next()
        if kind == "error":
            raise value
        if kind == "done":
            return self._final(value)
        result, made = value
        if made is not None:
            self._last_checkpoint = made
        return result

    def _final(self, value: Any) -> dict[str, Any]:
        """The end: a value that the function returned counts as its last report."""
        if value is None:
            return {DONE: True, RESULT_DUPLICATE: True}
        if isinstance(value, dict):
            result = dict(value)
        elif isinstance(value, (int, float)):
            result = {DEFAULT_METRIC: value}
        else:
            raise ValueError(
                f"a trial's function returns a dict of metrics, a number or None, not {type(value).__name__}: {value!r}"
            )
        result.setdefault("checkpoint_dir_name", None)
        result[DONE] = True
        return result

    def take_checkpoint(self) -> TrainingResult | None:
        """Return the checkpoint that came with the last result, once."""
        made, self._last_checkpoint = self._last_checkpoint, None
        return made

    def has_ended(self) -> bool:
        """Whether the function is over since its last result, as those are that report once, at their end."""
        return self._session.has_ended(_SOON_S)

    def execute(self, fn: Callable[[FunctionTrainable], Any]) -> Any:
        """Call a function with this trainable, in its process."""
        return fn(self)

    def save_checkpoint(self, checkpoint_dir: str = "") -> None:
        """Refused: a function makes its checkpoints itself."""
        raise NotImplementedError(
            "a function makes checkpoints itself, with tune.report(metrics, checkpoint=...)"
        )

    def save(self, checkpoint_dir: str | None = None) -> TrainingResult | None:
        """Return the last checkpoint that the function made, None without one."""
        if self._session.loaded_checkpoint is None:
            return None
        return TrainingResult(self._session.loaded_checkpoint, dict(self._last_result or {}))

    def restore(self, checkpoint_path: Any) -> None:
        """Have the function find a checkpoint with `get_checkpoint`."""
        self.load_checkpoint(checkpoint_path)

    def load_checkpoint(self, checkpoint_result: Any) -> None:
        """Have the function find a checkpoint with `get_checkpoint`; iterations count on from it."""
        from narke.train._checkpoint import Checkpoint

        checkpoint = getattr(checkpoint_result, "checkpoint", checkpoint_result)
        if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
            checkpoint = Checkpoint(checkpoint)
        self._session.loaded_checkpoint = checkpoint
        self._take_counters({}, dict(getattr(checkpoint_result, "metrics", None) or {}))

    def end_function(self) -> bool:
        """End the function at its next report; returns whether it ended in time."""
        timeout_s = float(os.environ.get("TUNE_FUNCTION_THREAD_TIMEOUT_S", "2"))
        ended = self._session.stop(timeout_s)
        set_session(None)
        return ended

    def cleanup(self) -> None:
        """End the function."""
        self.end_function()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial: the function starts anew."""
        return self.end_function()

    def reset(self, new_config: dict[str, Any], storage: Any = None) -> bool:
        """Become another trial."""
        if not super().reset(new_config, storage):
            return False
        self.setup(self.config)
        return True


def wrap_function(
    train_func: Callable, name: str | None = None, warn: bool = True
) -> type[FunctionTrainable]:
    """The class of trials that run a function.

    Args:
        train_func: of the configuration; with a second parameter ``checkpoint_dir`` as in old programs, it gets the
            folder of the checkpoint to begin from there.
        name: of the class.
        warn: kept for programs that pass it.

    Raises:
        ValueError: the function takes other parameters.
    """
    inherit = getattr(train_func, "__mixins__", ())
    takes_folder = _takes_checkpoint_dir(train_func)
    resources = getattr(train_func, "_resources", None)

    class ImplicitFunc(*inherit, FunctionTrainable):  # type: ignore[misc]
        _name: str = str(name or getattr(train_func, "__name__", "func"))
        # A trainer starts workers and threads of its own: its process is not used again.
        _fresh_process = getattr(train_func, "_is_trainer", False)

        def _trainable_func(self, config: dict[str, Any]) -> Any:
            if not takes_folder:
                return train_func(config)
            checkpoint = self._session.loaded_checkpoint
            if checkpoint is None:
                return train_func(config, checkpoint_dir=None)
            with checkpoint.as_directory() as folder:
                return train_func(config, checkpoint_dir=folder)

        @classmethod
        def default_resource_request(cls, config: dict[str, Any]) -> Any:
            if callable(resources) and not hasattr(resources, "bundles"):
                return resources(config)
            return resources

        def __repr__(self) -> str:
            return str(self._name)

    ImplicitFunc.__name__ = ImplicitFunc.__qualname__ = str(ImplicitFunc._name)
    return ImplicitFunc


def _takes_checkpoint_dir(function: Callable) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return False
    if "checkpoint_dir" in signature.parameters:
        return True
    try:
        signature.bind({})
    except TypeError as error:
        raise ValueError(
            f"a trial's function takes one argument, the configuration; {getattr(function, '__name__', function)} "
            f"takes {signature}"
        ) from error
    return False


def __getattr__(name: str) -> Any:
    if name == "FuncCheckpointUtil":
        from narke.tune.trainable._legacy import FuncCheckpointUtil

        return FuncCheckpointUtil
    raise AttributeError(f"narke.tune.trainable.function_trainable has no {name!r}")
