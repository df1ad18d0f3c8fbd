"""Shows in the driver's terminal what workers print, without telling the same thing a hundred times."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TextIO

__all__ = ["Deduplicator", "Line", "start_printer"]

_COLOURS = ("\033[32m", "\033[33m", "\033[34m", "\033[35m", "\033[36m", "\033[94m", "\033[95m", "\033[96m")
_NOTICE_COLOUR, _RESET, _DIM = "\033[33m", "\033[0m", "\033[2m"
_WAIT_MS = 500
_STOP_DEADLINE_S = 2.0
_PROGRESS_MARK = "__narke_tqdm__ "  # what narke.experimental.tqdm_ray begins its lines with


class Line(NamedTuple):
    """One line that a worker printed.

    Attributes:
        name: what the worker ran, a function or class.
        pid: its process.
        text: the line without its end.
        is_error: whether it went to the standard error output.
    """

    name: str
    pid: int
    text: str
    is_error: bool = False


class _Repeated:
    def __init__(self, line: Line, since_s: float, sources: frozenset[int]) -> None:
        self.line = line
        self.since_s = since_s
        self.sources = sources
        self.count = 0


class Deduplicator:
    """Lets the first of lines that several workers print pass, and the others only as a count after some seconds.

    Lines count as the same when they differ in numbers only. A worker's own repetitions pass unchanged.

    Args:
        window_s: how long lines are collected before they are told of.
        allow: lines that match it always pass; None for none.
        skip: lines that match it are never shown; None for none.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        window_s: float = 5.0,
        allow: str | None = None,
        skip: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._window_s = window_s
        self._allow = re.compile(allow) if allow else None
        self._skip = re.compile(skip) if skip else None
        self._clock = clock
        self._seen: dict[str, _Repeated] = {}

    def add(self, lines: Iterable[Line]) -> list[tuple[Line, str]]:
        """Take lines in; returns those to show now, each with a remark to append (``""`` for most)."""
        shown = self.due()
        for line in lines:
            shown += self._one(line)
        return shown

    def _one(self, line: Line) -> list[tuple[Line, str]]:
        if self._skip and self._skip.search(line.text):
            return []
        if self._allow and self._allow.search(line.text):
            return [(line, "")]
        key = _pattern(line.text)
        known = self._seen.get(key)
        if not key.strip():
            return [(line, "")]
        if known is None:
            self._seen[key] = _Repeated(line, self._clock(), frozenset({line.pid}))
            return [(line, "")]
        if known.sources == {line.pid}:
            known.since_s = self._clock()
            return [(line, "")]
        known.line = line
        known.count += 1
        known.sources |= {line.pid}
        return []

    def due(self) -> list[tuple[Line, str]]:
        """The lines whose window is over, with how often they came."""
        now = self._clock()
        over = [key for key, known in self._seen.items() if now - known.since_s >= self._window_s]
        return [shown for key in over for shown in self._tell(key)]

    def flush(self) -> list[tuple[Line, str]]:
        """All that is still held back."""
        return [shown for key in list(self._seen) for shown in self._tell(key)]

    def _tell(self, key: str) -> list[tuple[Line, str]]:
        known = self._seen.pop(key)
        if known.count == 0:
            return []
        if known.count == 1:
            return [(known.line, "")]
        self._seen[key] = _Repeated(known.line, self._clock(), known.sources)
        return [(known.line, f" [repeated {known.count}x across cluster]")]


def _pattern(text: str) -> str:
    """What two lines that differ in numbers have in common."""
    return re.sub(r"0x[0-9a-fA-F]+|\d+", "#", text)


def _deduplicator() -> Deduplicator | None:
    if os.environ.get("RAY_DEDUP_LOGS", "1") in ("0", "false", "False"):
        return None
    return Deduplicator(
        window_s=float(os.environ.get("RAY_DEDUP_LOGS_AGG_WINDOW_S", "5")),
        allow=os.environ.get("RAY_DEDUP_LOGS_ALLOW_REGEX"),
        skip=os.environ.get("RAY_DEDUP_LOGS_SKIP_REGEX"),
    )


class Printer:
    """A thread that prints workers' lines and the node's notices until the connection ends.

    Args:
        take_logs: waits so many milliseconds at most and gives what came; None once disconnected.
        deduplicator: None shows every line.
    """

    def __init__(self, take_logs: Callable[[int], Any], deduplicator: Deduplicator | None) -> None:
        self._take_logs = take_logs
        self._deduplicator = deduplicator
        self._thread = threading.Thread(target=self._run, name="narke-logs", daemon=True)

    def start(self) -> None:
        """Begin to print."""
        self._thread.start()

    def stop(self) -> None:
        """Wait until what has come is printed."""
        if self._thread is not threading.current_thread():
            self._thread.join(_STOP_DEADLINE_S)

    def _run(self) -> None:
        while True:
            entries = self._take_logs(_WAIT_MS)
            if entries is None:
                break
            self.show(entries)
        if self._deduplicator is not None:
            self._print(self._deduplicator.flush())

    def show(self, entries: list[dict[str, Any]]) -> None:
        """Print what the extension gave."""
        lines = []
        for entry in entries:
            if entry.get("notice"):
                _write(sys.stderr, _notice(entry["text"], _is_coloured(sys.stderr)))
            elif not _is_progress(entry["text"]):
                lines.append(Line(entry["name"], entry["pid"], entry["text"], entry["is_error"]))
        self._print(self._deduplicator.add(lines) if self._deduplicator else [(line, "") for line in lines])

    def _print(self, shown: list[tuple[Line, str]]) -> None:
        for line, remark in shown:
            stream = sys.stderr if line.is_error else sys.stdout
            _write(stream, format_line(line, remark, _is_coloured(stream)))


def format_line(line: Line, remark: str, coloured: bool) -> str:
    """A worker's line as the driver shows it: ``(name pid=7) text``."""
    head = f"({line.name} pid={line.pid})" if line.name else f"(pid={line.pid})"
    if coloured:
        head = f"{_COLOURS[line.pid % len(_COLOURS)]}{head}{_RESET}"
        remark = f"{_DIM}{remark}{_RESET}" if remark else ""
    return f"{head} {line.text}{remark}\n"


def _notice(text: str, coloured: bool) -> str:
    head = "(narke)"
    return f"{_NOTICE_COLOUR}{head}{_RESET} {text}\n" if coloured else f"{head} {text}\n"


def _is_coloured(stream: TextIO) -> bool:
    mode = os.environ.get("RAY_COLOR_PREFIX", "")
    if os.environ.get("NO_COLOR") or mode == "0" or getattr(stream, "closed", True):
        return False
    return mode == "1" or bool(getattr(stream, "isatty", lambda: False)())


def _is_progress(text: str) -> bool:
    """Whether a line is the state of a progress bar, which is drawn instead."""
    if _PROGRESS_MARK not in text:
        return False
    from narke.experimental import tqdm_ray

    return bool(tqdm_ray.process_line(text))


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None or stream.closed:
        return
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):  # the terminal is gone: the program goes on without it
        return


def start_printer(native: Any) -> Printer:
    """Show workers' output from now on; `native` is the connected extension."""
    printer = Printer(native.take_logs, _deduplicator())
    printer.start()
    return printer
