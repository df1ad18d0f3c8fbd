"""Where a model's or adapter's files are; what lies elsewhere is fetched once."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from typing import Any

__all__ = ["fetched"]


def fetched(place: str, tries: int = 1) -> str:
    """A local folder with the files at `place`.

    Args:
        place: a folder; a URI that fsspec knows (``s3://...``), whose files are fetched; anything else is left as it is
            (a name on Hugging Face's hub).
        tries: attempts to fetch.

    Raises:
        OSError: it could not be fetched.
    """
    if "://" not in place:
        return place
    name = hashlib.sha256(place.encode()).hexdigest()[:24]
    base = os.path.join(tempfile.gettempdir(), f"narke-models-{os.getuid()}")
    target = os.path.join(base, name)
    if os.path.isdir(target):
        return target
    os.makedirs(base, mode=0o700, exist_ok=True)
    for attempt in range(tries):
        try:
            return _fetch(place, target)
        except OSError:
            if attempt + 1 == tries:
                raise
            time.sleep(0.5 * 2**attempt)
    raise ValueError("tries must be positive")


def _fetch(place: str, target: str) -> str:
    import fsspec

    system: Any
    system, path = fsspec.core.url_to_fs(place)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(target)) as folder:
        system.get(path.rstrip("/") + "/", folder + "/", recursive=True)
        if not os.listdir(folder):
            raise FileNotFoundError(f"there are no files at {place}")
        try:
            os.rename(folder, target)
        except OSError:
            if not os.path.isdir(target):  # else another process was first
                raise
        os.makedirs(folder, exist_ok=True)  # the context manager removes it
    return target
