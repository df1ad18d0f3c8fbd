"""Small files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid

__all__ = ["Appender", "write_all", "write_new", "write_whole"]


class Appender:
    """Adds to the end of a local file without buffering; text of programs that print into it is taken too.

    Args:
        path: of the file; it is made if it is not there.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def is_empty(self) -> bool:
        """Whether nothing is in the file."""
        return os.fstat(self._file).st_size == 0

    def write(self, data: bytes | str) -> None:
        """Add something.

        Raises:
            OSError: it cannot be written.
        """
        write_all(self._file, data.encode() if isinstance(data, str) else data)

    def flush(self) -> None:
        """Nothing waits: each `write` reaches the system."""

    def close(self) -> None:
        """Close the file; a second time changes nothing."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def __del__(self) -> None:
        self.close()


def write_all(file: int, data: bytes) -> None:
    """Write to a descriptor all there is, however much of it the system takes at once.

    Raises:
        OSError: it cannot be written.
    """
    written = os.write(file, data)
    while written < len(data):
        written += os.write(file, data[written:])


def write_whole(path: str, data: bytes | str) -> None:
    """Write a local file by renaming a draft: after a crash it holds the old contents or the new ones.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    draft = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with open(draft, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
        os.replace(draft, path)
    except BaseException:
        if os.path.exists(draft):
            os.unlink(draft)
        raise


def write_new(path: str, data: bytes | str) -> None:
    """Write a local file that nothing depends on: with one write if it is new, else as `write_whole` does.

    Raises:
        OSError: it cannot be written.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return write_whole(path, data)
    try:
        write_all(file, data.encode() if isinstance(data, str) else data)
    finally:
        os.close(file)
