"""The session of the training function that runs in this process.

What a training function calls (`report`, `get_checkpoint`, `get_context`, ...) acts on the session of its process.
Train's workers set one of their own; a trial of Tune sets another one with the same methods. There is one at a time.
"""

from __future__ import annotations

from typing import Any, Protocol

from narke.train.error import SessionMisuseError

__all__ = ["Session", "current", "require", "set_current"]


class Session(Protocol):
    """What training functions act on."""

    def report(self, metrics: dict[str, Any], *, checkpoint: Any = None, **options: Any) -> None:
        """Hand metrics and possibly a checkpoint to whoever runs the function.

        Args:
            metrics: any picklable values by name.
            checkpoint: a `narke.train.Checkpoint`.
            options: checkpoint_dir_name, checkpoint_upload_mode, delete_local_checkpoint_after_upload,
                checkpoint_upload_fn, validation: see `narke.train.report`.
        """

    def get_checkpoint(self) -> Any:
        """The last checkpoint, or None."""

    def get_dataset_shard(self, name: str | None = None) -> Any:
        """This worker's part of a dataset."""

    def get_context(self) -> Any:
        """A `narke.train.TrainContext`."""


_current: Session | None = None


def current() -> Session | None:
    """The session of this process; None outside of training functions."""
    return _current


def set_current(session: Any) -> Session | None:
    """Make a session the one of this process.

    Args:
        session: a `Session`; None ends the present one.

    Returns:
        the one before.
    """
    global _current
    before, _current = _current, session
    return before


def require(what: str) -> Session:
    """The session of this process.

    Args:
        what: the call that needs it, for the error's text.

    Raises:
        narke.train.error.SessionMisuseError: there is none.
    """
    if _current is None:
        raise SessionMisuseError(
            f"{what} works inside a training function that a trainer or tuner runs; this process runs none"
        )
    return _current
