"""This process as the operating system sees it: its output, its end."""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import os
import sys
from typing import Any

__all__ = ["end", "open_output", "prctl"]

_SPEAKER_MARK = b"\x01narke-speaker:"


@functools.cache
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: object) -> None:
    """Call prctl(2); failures are ignored where the kernel lacks the option."""
    _libc().prctl(option, value, 0, 0, 0)


def open_output() -> None:
    """Make Python's output streams those of a worker: to descriptors 1 and 2, line by line, saying who writes."""
    sys.stdout, sys.stderr = _writer(1), _writer(2)


class _Output(io.RawIOBase):
    """One of a worker's output files; says in a line of its own who writes, whenever that changes.

    The node reads these lines (src/node/log_follower.h) and shows the name before what follows.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._speaker = ""
        self._is_line_start = True

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        content = bytes(data)
        os.write(self._fd, self._mark() + content)
        self._is_line_start = content.endswith(b"\n")
        return len(content)

    def _mark(self) -> bytes:
        native = sys.modules.get("narke._native")
        speaker = native.speaker() if native is not None and self._is_line_start else ""
        if not speaker or speaker == self._speaker:
            return b""
        self._speaker = speaker
        return _SPEAKER_MARK + speaker.encode(errors="replace") + b"\n"


def _writer(fd: int) -> io.TextIOWrapper:
    """A text stream to a descriptor, written line by line."""
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(fd)), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )


def end(status: int) -> None:
    """End this process with a status: exit handlers run and output is flushed, nothing else is torn down."""
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)
