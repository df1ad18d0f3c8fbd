"""What every exception of this package builds on."""

from __future__ import annotations

import pickle
from typing import Any


class RayError(Exception):
    """Base of every exception of this module."""

    def to_bytes(self) -> bytes:
        """The exception as bytes that `from_bytes` reads back."""
        from narke._private.serialization import cloud_pickle

        return cloud_pickle(self)

    @staticmethod
    def from_bytes(b: bytes) -> RayError:
        """The exception that `to_bytes` wrote. Unpickles: give it only bytes you trust."""
        return pickle.loads(b)

    @staticmethod
    def from_ray_exception(ray_exception: Any) -> RayError:
        """The exception inside a message that names its language and its serialized form.

        Args:
            ray_exception: an object with ``language`` and ``serialized_exception``, or already an exception.
        """
        if isinstance(ray_exception, RayError):
            return ray_exception
        if getattr(ray_exception, "language", "PYTHON") in ("PYTHON", 0, None):
            return pickle.loads(ray_exception.serialized_exception)
        return CrossLanguageError(ray_exception)


class CrossLanguageError(RayError):
    """A failure raised by a task of another language.

    Args:
        ray_exception: an object with ``language`` and ``formatted_exception_string``.
    """

    def __init__(self, ray_exception: Any) -> None:
        language = getattr(ray_exception.language, "name", ray_exception.language)
        super().__init__(f"An exception raised from {language}:\n{ray_exception.formatted_exception_string}")


class UserCodeException(RayError):
    """Stands for an exception of the user's code that cannot be shown as itself."""


class _TextError(RayError):
    """An error whose text is its argument under `message` and a fixed opening."""

    _opening = ""

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message

    def __str__(self) -> str:
        return f"{self._opening}{self.error_message}"


def _text_or(error: BaseException, default: str) -> str:
    return str(error.args[0]) if error.args else default
