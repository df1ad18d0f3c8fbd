"""The error that Tune raises."""

from __future__ import annotations

__all__ = ["TuneError"]


class TuneError(Exception):
    """Something in an experiment went wrong: a trial that failed, a name that is not known, a state that cannot be."""


class _AbortTrialExecution(TuneError):
    """A scheduler or callback gave up a trial before it started."""


class _SubCategoryTuneError(TuneError):
    """Base of errors about one step in a trial's life; the message is the traceback of the cause."""

    def __init__(self, traceback_str: str) -> None:
        super().__init__(traceback_str)
        self.traceback_str = traceback_str

    def __str__(self) -> str:
        return self.traceback_str


class _TuneStopTrialError(_SubCategoryTuneError):
    """A trial could not be stopped."""


class _TuneStartTrialError(_SubCategoryTuneError):
    """A trial could not be started."""


class _TuneRestoreError(_SubCategoryTuneError):
    """A trial could not be restored from a checkpoint."""
