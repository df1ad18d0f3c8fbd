"""Errors of datasets by Ray's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.exceptions import RayError


class RayDataUserCodeException(RayError):
    """Base of errors raised by users' functions; here those arrive as themselves, with a note of where."""


class SystemException(RayError):
    """An error of the dataset engine itself."""


class ExecutionTimeoutError(RayError):
    """An execution made no progress for too long."""


def omit_traceback_stdout(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of Ray's; errors are short here without it, and the function is given back as it is."""
    return fn
