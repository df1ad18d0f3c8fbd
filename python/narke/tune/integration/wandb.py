"""Weights & Biases in trials: the logger under the name of older programs, and functions that log themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.tune.integration._runs import check_mixed_into_trainable, inside_a_run
from narke.tune.logger.wandb import WandbLoggerCallback, _plain, _wandb
from narke.tune.search.util import flattened

__all__ = ["WandbLoggerCallback", "WandbTrainableMixin", "wandb_mixin"]


def _begin(config: dict[str, Any], trial_id: str | None, trial_name: str | None) -> Any:
    options = dict(config.get("wandb") or {})
    key, file = options.pop("api_key", None), options.pop("api_key_file", None)
    if file:
        with open(file, encoding="utf-8") as stream:
            key = stream.readline().strip()
    if "project" not in options:
        raise ValueError('wandb_mixin needs a project: config["wandb"]["project"]')
    if key:
        _wandb().login(key=key)
    shown = {name: _plain(value) for name, value in flattened(config).items() if not name.startswith("wandb")}
    known = {
        "id": trial_id,
        "name": trial_name,
        "resume": "allow",
        "reinit": "finish_previous",
        "config": shown,
    }
    return _wandb().init(**{**known, **options})


def wandb_mixin(func: Callable) -> Callable:
    """Have a trial's function run inside of a run of Weights & Biases, which its calls of ``wandb.log`` go to.

    Args:
        func: its configuration has "wandb": {"project", "api_key" or "api_key_file", arguments of wandb.init}.
    """

    def begin(config: dict[str, Any]) -> Any:
        from narke.tune.trainable.session import get_trial_id, get_trial_name

        return _begin(config, get_trial_id(), get_trial_name())

    return inside_a_run(func, begin, lambda run, failed: run.finish(exit_code=int(failed)))


class WandbTrainableMixin:
    """For trainable classes: a run of Weights & Biases around each trial, as ``self.wandb``.

    Args:
        config: see `wandb_mixin`.
        args, kwargs: of `Trainable`.

    Raises:
        ValueError: the class is no `Trainable`.
    """

    def __init__(self, config: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        check_mixed_into_trainable(self, "WandbTrainableMixin")
        super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]
        self.wandb = _begin(config, self.trial_id, self.trial_name)  # type: ignore[attr-defined]

    def stop(self) -> None:
        """End the run."""
        self.wandb.finish()
        super().stop()  # type: ignore[misc]
