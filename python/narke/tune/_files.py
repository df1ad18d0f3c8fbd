"""Small files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid

__all__ = ["append", "write_all", "write_whole"]


def append(path: str, data: bytes) -> None:
    """Add to the end of a local file, which is made if it is not there.

    Raises:
        OSError: it cannot be written.
    """
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        write_all(file, data)
    finally:
        os.close(file)


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
