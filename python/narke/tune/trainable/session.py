"""What a trial's function called in older programs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from narke.tune.trainable._session import get_session
from narke.tune.trainable.trainable_fn_utils import report

__all__ = [
    "checkpoint_dir",
    "get_session",
    "get_trial_dir",
    "get_trial_id",
    "get_trial_name",
    "get_trial_resources",
    "is_session_enabled",
    "report",
]


@contextlib.contextmanager
def checkpoint_dir(step: int) -> Iterator[str]:
    """A folder for a checkpoint: what is written into it goes with the next report.

    Args:
        step: of training; part of the folder's name.

    Raises:
        RuntimeError: outside of a trial.
    """
    from narke.train._checkpoint import Checkpoint
    from narke.train._scratch import session_folder

    session = get_session()
    if session is None:
        raise RuntimeError("checkpoint_dir() makes a folder for a running trial; no trial runs here")
    folder = os.path.join(session_folder(), "checkpoint_dirs", f"{session.info.trial_id}_{step:06d}")
    os.makedirs(folder, exist_ok=True)
    yield folder
    session.legacy_checkpoint = Checkpoint(folder)


def is_session_enabled() -> bool:
    """Whether a trial runs in this process."""
    return get_session() is not None


def _info(name: str) -> Any:
    session = get_session()
    return getattr(session.info, name) if session is not None else None


def get_trial_dir() -> str | None:
    """The trial's folder on this machine."""
    return _info("local_dir")


def get_trial_name() -> str | None:
    """The trial's name."""
    return _info("trial_name")


def get_trial_id() -> str | None:
    """The trial's identifier."""
    return _info("trial_id")


def get_trial_resources() -> Any:
    """What the trial holds."""
    return _info("resources")
