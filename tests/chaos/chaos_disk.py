"""A small disk for a cluster's sessions, so that it can be full."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

__all__ = ["SmallDisk"]

_SIZE = "96m"


class SmallDisk:
    """A tmpfs of some megabytes on a folder.

    Args:
        folder: where it is mounted.
    """

    def __init__(self, folder: str) -> None:
        self._ballast = os.path.join(folder, "ballast")

    @classmethod
    @contextlib.contextmanager
    def mounted(cls, folder: str) -> Iterator[SmallDisk | None]:
        """Mount it while the block runs; None where this program may not mount."""
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "none", folder]
        if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
            yield None
            return
        try:
            yield cls(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=False, capture_output=True)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """No byte is left on it while the block runs."""
        with open(self._ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
            piece = bytes(1 << 20)
            while file.write(piece) == len(piece):
                pass
        try:
            yield
        finally:
            os.remove(self._ballast)
