"""Callbacks for a Lightning trainer in a trial."""

from __future__ import annotations

import logging
import os
import tempfile
from typing import Any

from narke.tune.trainable.trainable_fn_utils import Checkpoint, report

try:
    from lightning.pytorch.callbacks import Callback
except ImportError:
    try:
        from pytorch_lightning.callbacks import Callback  # type: ignore[assignment]
    except ImportError:
        # Without Lightning its trainers cannot call these; the classes may still be named.
        Callback = object  # type: ignore[assignment, misc]

__all__ = ["TuneCallback", "TuneReportCallback", "TuneReportCheckpointCallback"]

logger = logging.getLogger(__name__)
# The hooks of Lightning's callbacks at which something may happen.
_HOOKS = (
    "fit_start fit_end sanity_check_start sanity_check_end train_start train_end train_epoch_start train_epoch_end "
    "train_batch_start train_batch_end validation_start validation_end validation_epoch_start validation_epoch_end "
    "validation_batch_start validation_batch_end test_start test_end test_epoch_start test_epoch_end test_batch_start "
    "test_batch_end predict_start predict_end predict_epoch_start predict_epoch_end predict_batch_start "
    "predict_batch_end exception save_checkpoint load_checkpoint before_backward after_backward before_optimizer_step "
    "before_zero_grad"
).split()


class TuneCallback(Callback):
    """Calls `_handle` at some hooks of Lightning.

    Args:
        on: name of a hook without "on_", or names.

    Raises:
        ValueError: an unknown hook.
    """

    def __init__(self, on: str | list[str] = "validation_end") -> None:
        self._on = [on] if isinstance(on, str) else list(on)
        unknown = [each for each in self._on if each.removeprefix("on_") not in _HOOKS]
        if unknown:
            raise ValueError(f"Invalid trigger time selected: {unknown}. Must be one of {_HOOKS}")
        self._on = [each.removeprefix("on_") for each in self._on]

    def _handle(self, trainer: Any, pl_module: Any) -> None:
        raise NotImplementedError


def _hook(name: str) -> Any:
    def call(self: TuneCallback, trainer: Any, *args: Any, pl_module: Any = None, **kwargs: Any) -> None:
        if name in self._on:
            self._handle(trainer, pl_module)

    call.__name__ = f"on_{name}"
    call.__doc__ = f"Lightning's hook on_{name}."
    return call


for _name in _HOOKS:
    setattr(TuneCallback, f"on_{_name}", _hook(_name))


class TuneReportCheckpointCallback(TuneCallback):
    """Reports what Lightning logged, and checkpoints.

    Args:
        metrics: names, or {reported name: Lightning's name}; all if None.
        filename: of the checkpoint's file.
        save_checkpoints: report checkpoints, too.
        on: hooks at which to report.
    """

    def __init__(
        self,
        metrics: str | list[str] | dict[str, str] | None = None,
        filename: str = "checkpoint",
        save_checkpoints: bool = True,
        on: str | list[str] = "validation_end",
    ) -> None:
        super().__init__(on=on)
        self._metrics = [metrics] if isinstance(metrics, str) else metrics
        self._filename = filename
        self._save_checkpoints = save_checkpoints

    def _logged(self, trainer: Any) -> dict[str, Any] | None:
        if trainer.sanity_checking:
            return None
        known = {name: value.item() for name, value in trainer.callback_metrics.items()}
        if not self._metrics:
            return known
        pairs = (
            self._metrics.items()
            if isinstance(self._metrics, dict)
            else [(each, each) for each in self._metrics]
        )
        missing = [name for _, name in pairs if name not in known]
        if missing:
            logger.warning("Lightning has not logged %s; it logged %s", missing, sorted(known))
        return {shown: known[name] for shown, name in pairs if name in known}

    def _handle(self, trainer: Any, pl_module: Any) -> None:
        logged = self._logged(trainer)
        if not logged:
            return
        if not self._save_checkpoints:
            report(logged)
            return
        with tempfile.TemporaryDirectory() as folder:
            trainer.save_checkpoint(os.path.join(folder, self._filename))
            report(logged, checkpoint=Checkpoint.from_directory(folder))


class TuneReportCallback(TuneReportCheckpointCallback):
    """Reports what Lightning logged; the older name of `TuneReportCheckpointCallback` without checkpoints.

    Args:
        metrics: names, or {reported name: Lightning's name}; all if None.
        on: hooks at which to report.
    """

    def __init__(
        self,
        metrics: str | list[str] | dict[str, str] | None = None,
        on: str | list[str] = "validation_end",
    ) -> None:
        super().__init__(metrics=metrics, save_checkpoints=False, on=on)
