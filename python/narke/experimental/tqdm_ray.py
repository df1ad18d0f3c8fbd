"""Progress bars of tasks and actors, shown together in the driver's terminal.

A bar in a worker writes its state to standard output as a marked line of JSON. The driver, which receives
workers' output anyway, hands each line to `process_line`: marked ones move a bar, others are for the user to
see.
"""

from __future__ import annotations

import builtins
import json
import os
import shutil
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sized
from typing import IO, Any

from narke._private import session

__all__ = [
    "RAY_TQDM_MAGIC",
    "BarManager",
    "ProgressBarState",
    "instance",
    "process_line",
    "safe_print",
    "tqdm",
]

RAY_TQDM_MAGIC = "__ray_tqdm_magic_token__"
ProgressBarState = dict[str, Any]

_LINE_MARK = "__narke_tqdm__ "
_REDRAW_PERIOD_S = 0.1
_PLAIN_STEPS = 10
_BAR_WIDTH = 24
_CLEAR_LINE = "\r\x1b[K"
_UP = "\x1b[1A"
_raw_print = builtins.print


class tqdm:
    """A progress bar; in a task or actor it appears in the driver's terminal.

    Args:
        iterable: what to iterate over while counting.
        desc: text before the bar.
        total: number of steps; None for the iterable's length, or unknown.
        unit: what a step is called.
        position: place among the bars of this process, from 0 at the top.
        flush_interval_s: least seconds between two reports; None for 1.
    """

    DEFAULT_FLUSH_INTERVAL_SECONDS = 1.0

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        desc: str | None = None,
        total: int | None = None,
        unit: str | None = None,
        position: int | None = None,
        flush_interval_s: float | None = None,
    ) -> None:
        self._iterable = iterable
        self._desc = desc or ""
        self._total = len(iterable) if total is None and isinstance(iterable, Sized) else total
        self._unit = unit or "it"
        self._position = position or 0
        self._flush_interval_s = (
            self.DEFAULT_FLUSH_INTERVAL_SECONDS if flush_interval_s is None else flush_interval_s
        )
        self._uuid = uuid.uuid4().hex
        self._n = 0
        self._closed = False
        self._reported_at_s = float("-inf")
        self._report(force=True)

    @property
    def n(self) -> int:
        """Steps made."""
        return self._n

    @n.setter
    def n(self, value: int) -> None:
        self._n = value

    @property
    def total(self) -> int | None:
        """Number of steps, None when unknown."""
        return self._total

    @total.setter
    def total(self, value: int | None) -> None:
        self._total = value

    def set_description(self, desc: str) -> None:
        """Change the text before the bar."""
        self._desc = desc
        self._report()

    def update(self, n: int = 1) -> None:
        """Make `n` steps."""
        self._n += n
        self._report()

    def refresh(self) -> None:
        """Report the present state at once."""
        self._report(force=True)

    def close(self) -> None:
        """Take the bar away; nothing happens the second time."""
        if not self._closed:
            self._closed = True
            self._report(force=True)

    def __iter__(self) -> Iterator[Any]:
        if self._iterable is None:
            raise ValueError(
                "this progress bar was made without an iterable: pass one, or count with update()"
            )
        for item in self._iterable:
            yield item
            self.update()
        self.close()

    def _report(self, force: bool = False) -> None:
        now_s = time.monotonic()
        if not force and now_s - self._reported_at_s < self._flush_interval_s:
            return
        self._reported_at_s = now_s
        state = self._state()
        if _in_worker():
            _raw_print(_LINE_MARK + json.dumps(state), flush=True)
        else:
            instance().process_state_update(state)

    def _state(self) -> ProgressBarState:
        return {
            "uuid": self._uuid,
            "desc": self._desc,
            "total": self._total,
            "x": self._n,
            "unit": self._unit,
            "pos": self._position,
            "closed": self._closed,
            "pid": os.getpid(),
            "ip": socket.gethostname(),
        }


def _in_worker() -> bool:
    current = session.current()
    return current is not None and current.mode == session.WORKER_MODE


class BarManager:
    """All bars that a driver shows, each in a line at the terminal's bottom.

    Where the output is no terminal, a bar is a line of its own that appears whenever another tenth is done.

    Args:
        out: where to draw; None for standard error.
    """

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = out
        self._lock = threading.RLock()
        self._bars: dict[str, ProgressBarState] = {}
        self._started_at_s: dict[str, float] = {}
        self._shown_step: dict[str, float] = {}
        self._drawn_lines = 0
        self._drawn_at_s = float("-inf")
        self._hidden = False

    def process_state_update(self, state: ProgressBarState) -> None:
        """Take over a bar's new state and draw it."""
        with self._lock:
            now_s = time.monotonic()
            self._started_at_s.setdefault(state["uuid"], now_s)
            self._bars[state["uuid"]] = state
            if self._is_terminal():
                self._draw(now_s, force=state["closed"])
            else:
                self._log(state, now_s)
            if state["closed"]:
                self._forget(state["uuid"])

    def hide_bars(self) -> None:
        """Clear the bars, so that other output can be written."""
        with self._lock:
            if not self._hidden and self._is_terminal():
                self._hidden = True
                self._clear()

    def unhide_bars(self) -> None:
        """Draw the bars again."""
        with self._lock:
            if self._hidden:
                self._hidden = False
                self._draw(time.monotonic(), force=True)

    def lines(self, now_s: float) -> list[str]:
        """The bars as text, in the order of processes and positions."""
        order = sorted(self._bars.values(), key=lambda bar: (bar["ip"], bar["pid"], bar["pos"], bar["uuid"]))
        return [_render(bar, now_s - self._started_at_s[bar["uuid"]]) for bar in order]

    def _stream(self) -> IO[str]:
        return self._out if self._out is not None else sys.stderr

    def _is_terminal(self) -> bool:
        return self._stream().isatty()

    def _draw(self, now_s: float, force: bool) -> None:
        if self._hidden or not (force or now_s - self._drawn_at_s >= _REDRAW_PERIOD_S):
            return
        self._drawn_at_s = now_s
        self._clear()
        lines = self.lines(now_s)
        width = shutil.get_terminal_size().columns
        self._stream().write("\n".join(line[: width - 1] for line in lines))
        self._stream().flush()
        self._drawn_lines = len(lines)

    def _clear(self) -> None:
        if self._drawn_lines:
            self._stream().write(_CLEAR_LINE + (_UP + _CLEAR_LINE) * (self._drawn_lines - 1))
            self._stream().flush()
            self._drawn_lines = 0

    def _log(self, bar: ProgressBarState, now_s: float) -> None:
        step = bar["x"] * _PLAIN_STEPS // bar["total"] if bar["total"] else 0
        if step != self._shown_step.get(bar["uuid"]) or bar["closed"]:
            self._shown_step[bar["uuid"]] = step
            self._stream().write(_render(bar, now_s - self._started_at_s[bar["uuid"]]) + "\n")
            self._stream().flush()

    def _forget(self, key: str) -> None:
        if self._is_terminal():
            final = _render(self._bars[key], time.monotonic() - self._started_at_s[key])
            self._clear()
            self._stream().write(final + "\n")
        for table in (self._bars, self._started_at_s, self._shown_step):
            table.pop(key, None)
        if self._is_terminal():
            self._draw(time.monotonic(), force=True)


def _render(bar: ProgressBarState, elapsed_s: float) -> str:
    """A bar as a line of text."""
    count, total, unit = bar["x"], bar["total"], bar["unit"]
    label = f"{bar['desc']}: " if bar["desc"] else ""
    rate = f"{count / elapsed_s:.2f} {unit}/s" if elapsed_s > 0 else f"? {unit}/s"
    if not total:
        return f"{label}{count} {unit} [{_clock(elapsed_s)}, {rate}]"
    share = min(count / total, 1.0)
    filled = int(share * _BAR_WIDTH)
    left = _clock(elapsed_s * (total - count) / count) if count else "?"
    bar_text = "#" * filled + "-" * (_BAR_WIDTH - filled)
    return f"{label}{share:4.0%} |{bar_text}| {count}/{total} [{_clock(elapsed_s)}<{left}, {rate}]"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


_manager: BarManager | None = None
_manager_lock = threading.Lock()


def instance() -> BarManager:
    """Return this process's bars.

    The first call lets ``print`` step around them (not if RAY_TQDM_PATCH_PRINT=0).
    """
    global _manager
    with _manager_lock:
        if _manager is None:
            _manager = BarManager()
            if os.environ.get("RAY_TQDM_PATCH_PRINT", "1") not in ("0", "false", "False"):
                builtins.print = safe_print
        return _manager


def process_line(line: str) -> bool:
    """Move a bar if a worker's output line is a bar's state.

    Returns:
        False for any other line, which is for the user to see.
    """
    mark = line.find(_LINE_MARK)
    if mark < 0:
        return False
    try:
        state = json.loads(line[mark + len(_LINE_MARK) :])
    except json.JSONDecodeError:
        return False
    instance().process_state_update(state)
    return True


def safe_print(*args: Any, **kwargs: Any) -> None:
    """Print without tearing the bars apart."""
    if _manager is None or kwargs.get("file") not in (None, sys.stdout, sys.stderr):
        _raw_print(*args, **kwargs)
        return
    try:
        _manager.hide_bars()
        _raw_print(*args, **kwargs)
    finally:
        _manager.unhide_bars()
