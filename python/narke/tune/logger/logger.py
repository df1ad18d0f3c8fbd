"""`LoggerCallback`: the base of callbacks that write results somewhere, and texts for results."""

from __future__ import annotations

import json
import numbers
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from narke.tune.callback import Callback

if TYPE_CHECKING:
    from narke.tune.experiment.trial import Trial

__all__ = ["LoggerCallback", "pretty_print"]


class LoggerCallback(Callback):
    """Sees each trial's start, results and end once, also when it is paused and goes on."""

    def log_trial_start(self, trial: Trial) -> None:
        """A trial began."""

    def log_trial_restore(self, trial: Trial) -> None:
        """A trial went back to a checkpoint."""

    def log_trial_save(self, trial: Trial) -> None:
        """A trial made a checkpoint."""

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """A trial reported."""

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """A trial ended."""

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Log the result."""
        self.log_trial_result(iteration, trial, result)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Log the start."""
        self.log_trial_start(trial)

    def on_trial_restore(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Log the return to a checkpoint."""
        self.log_trial_restore(trial)

    def on_trial_save(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Log the checkpoint."""
        self.log_trial_save(trial)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Log the end."""
        self.log_trial_end(trial, failed=False)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Log the end by failure."""
        self.log_trial_end(trial, failed=True)

    def _restore_from_remote(self, file_name: str, trial: Trial) -> None:
        """Fetch a file of a trial that goes on, if its storage is not local and has it."""
        import os

        from narke.train._storage import exists, read_bytes

        if not trial.uses_cloud_checkpointing or trial.storage is None or trial.local_path is None:
            return
        target = os.path.join(trial.local_path, file_name)
        source = f"{trial.path}/{file_name}"
        if not os.path.exists(target) and exists(trial.storage.storage_filesystem, source):
            with open(target, "wb") as file:
                file.write(read_bytes(trial.storage.storage_filesystem, source))


def safe_json(value: Any) -> Any:
    """What stands in JSON for a value that JSON does not know: numbers of numpy as numbers, others as text."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "size", 0) == 1:
        return item()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Number):
        return float(value)  # type: ignore[arg-type]
    if isinstance(value, (set, frozenset)):
        return list(value)
    return repr(value) if callable(value) else str(value)


def pretty_print(result: dict[str, Any], exclude: Iterable[str] | None = None) -> str:
    """A result as YAML, without the configuration and what is excluded.

    Args:
        result: a result.
        exclude: keys to leave out.
    """
    hidden = {"config", *(exclude or ())}
    shown = {key: value for key, value in result.items() if value is not None and key not in hidden}
    plain = json.loads(json.dumps(shown, default=safe_json))
    return "\n".join(_yaml_lines(plain, 0)) + "\n"


def _yaml_lines(value: dict[str, Any], depth: int) -> list[str]:
    lines = []
    for key in sorted(value):
        each = value[key]
        if isinstance(each, dict) and each:
            lines += ["  " * depth + f"{key}:", *_yaml_lines(each, depth + 1)]
        else:
            lines.append("  " * depth + f"{key}: {each if isinstance(each, str) else json.dumps(each)}")
    return lines


def __getattr__(name: str) -> Any:
    if name in ("LegacyLoggerCallback", "Logger"):
        from narke.tune.logger import _legacy

        return getattr(_legacy, name)
    raise AttributeError(f"narke.tune.logger.logger has no {name!r}")
