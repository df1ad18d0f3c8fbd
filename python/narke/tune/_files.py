"""Small files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid

__all__ = ["write_whole"]


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
