"""Errors of datasets by Ray's names."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from narke.exceptions import RayError, RayTaskError, UserCodeException

RAISED_BY = "This was raised by"


class RayDataUserCodeException(RayError):
    """Base of errors raised by users' functions; here those arrive as themselves, with a note of where."""


def as_user_error(error: Exception) -> Exception:
    """An error of a task; one that a user's function raised is a `UserCodeException`, too, as Ray's programs expect."""
    notes = getattr(getattr(error, "cause", None), "__notes__", ())
    if isinstance(error, RayTaskError) and any(note.startswith(RAISED_BY) for note in notes):
        kind: Any = type(error)
        if not issubclass(kind, UserCodeException):
            error.__class__ = _user_error(kind)
    return error


@functools.cache
def _user_error(kind: type) -> Any:
    return type(kind.__name__, (kind, UserCodeException), {"__module__": kind.__module__})


class SystemException(RayError):
    """An error of the dataset engine itself."""


class ExecutionTimeoutError(RayError):
    """An execution made no progress for too long."""


def omit_traceback_stdout(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of Ray's; errors are short here without it, and the function is given back as it is."""
    return fn
