"""Weights & Biases: runs of training functions, and Tune's logger."""

from __future__ import annotations

import os
from typing import Any

from narke.train.context import get_context

__all__ = [
    "WANDB_ENV_VAR",
    "WANDB_GROUP_ENV_VAR",
    "WANDB_MODE_ENV_VAR",
    "WANDB_POPULATE_RUN_LOCATION_HOOK",
    "WANDB_PROCESS_RUN_INFO_HOOK",
    "WANDB_PROJECT_ENV_VAR",
    "WANDB_SETUP_API_KEY_HOOK",
    "setup_wandb",
]

WANDB_ENV_VAR = "WANDB_API_KEY"
WANDB_GROUP_ENV_VAR = "WANDB_GROUP_NAME"
WANDB_MODE_ENV_VAR = "WANDB_MODE"
WANDB_PROJECT_ENV_VAR = "WANDB_PROJECT_NAME"
# Names of functions "module.function" that a site may set: to get a key, to choose project and group, to see a run.
WANDB_SETUP_API_KEY_HOOK = "WANDB_SETUP_API_KEY_HOOK"
WANDB_POPULATE_RUN_LOCATION_HOOK = "WANDB_POPULATE_RUN_LOCATION_HOOK"
WANDB_PROCESS_RUN_INFO_HOOK = "WANDB_PROCESS_RUN_INFO_HOOK"


def __getattr__(name: str) -> Any:
    if name == "WandbLoggerCallback":
        from narke.tune.logger.wandb import WandbLoggerCallback

        return WandbLoggerCallback
    raise AttributeError(f"narke.air.integrations.wandb has no {name!r}")


def setup_wandb(
    config: dict[str, Any] | None = None,
    api_key: str | None = None,
    api_key_file: str | None = None,
    rank_zero_only: bool = True,
    **kwargs: Any,
) -> Any:
    """Begin a run of Weights & Biases in a training function or trial.

    Args:
        config: stored with the run.
        api_key: key of the service; of the environment or `api_key_file` if None.
        api_key_file: file with the key.
        rank_zero_only: other ranks get a disabled run.
        kwargs: of wandb.init.

    Returns:
        the run.

    Raises:
        ImportError: wandb is not installed.
        ValueError: there is no key and the mode is online.
    """
    import wandb

    context = get_context()
    if rank_zero_only and context.get_world_rank() not in (None, 0):
        return wandb.init(mode="disabled")
    _set_key(api_key, api_key_file)
    kwargs.setdefault("project", os.environ.get(WANDB_PROJECT_ENV_VAR) or "uncategorized")
    kwargs.setdefault("group", os.environ.get(WANDB_GROUP_ENV_VAR) or context.get_experiment_name() or None)
    kwargs.setdefault("name", context.get_trial_name() or None)
    kwargs.setdefault("resume", "allow")
    run = wandb.init(config=config or {}, **kwargs)
    if os.environ.get(WANDB_PROCESS_RUN_INFO_HOOK):
        _hook(WANDB_PROCESS_RUN_INFO_HOOK)(run)
    return run


def _set_key(key: str | None, file: str | None) -> None:
    if file:
        if key:
            raise ValueError("give api_key or api_key_file, not both")
        with open(os.path.expanduser(file)) as stream:
            key = stream.readline().strip()
    if not key and os.environ.get(WANDB_SETUP_API_KEY_HOOK):
        key = _hook(WANDB_SETUP_API_KEY_HOOK)()
    if key:
        os.environ[WANDB_ENV_VAR] = key


def _hook(variable: str) -> Any:
    import importlib

    module, _, name = os.environ[variable].rpartition(".")
    return getattr(importlib.import_module(module), name)
