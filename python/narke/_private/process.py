"""This process as the operating system sees it: its title, its output, its end."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import io
import os
import sys
from typing import Any

__all__ = ["end", "prctl", "redirect_output", "set_title", "title_area"]

_PR_SET_NAME = 15
_SPEAKER_MARK = b"\x01narke-speaker:"
_ARG_START, _ARG_END = 47, 48  # fields of /proc/self/stat, counted from 0


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: object) -> None:
    """Call prctl(2); failures are ignored where the kernel lacks the option."""
    _libc().prctl(option, value, 0, 0, 0)


@functools.cache
def title_area() -> tuple[int, int]:
    """Address and size of the memory that holds this process's command line."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b") ")[2].split()
    start, end = int(fields[_ARG_START - 2]), int(fields[_ARG_END - 2])
    return start, end - start


def set_title(title: str) -> None:
    """Set the name that tools such as ps and top show, cut to what fits."""
    data = title.encode()
    prctl(_PR_SET_NAME, ctypes.c_char_p(data[:15]))
    start, size = title_area()
    if start and size > 1:
        ctypes.memmove(start, data[: size - 1].ljust(size, b"\0"), size)


def redirect_output(stdout: str, stderr: str) -> None:
    """Send this process's output to two files, made if need be, line by line; its input is empty."""
    null = os.open(os.devnull, os.O_RDONLY)
    _move(null, 0)
    for fd, path in ((1, stdout), (2, stderr)):
        _move(os.open(path or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), fd)
    sys.stdout, sys.stderr = _writer(1), _writer(2)


def _move(fd: int, to: int) -> None:
    if fd != to:
        os.dup2(fd, to)
        os.close(fd)


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
