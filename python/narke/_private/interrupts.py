"""How what a worker's main thread runs is interrupted when it is cancelled: at once, but never within an import.

A package whose import is broken off is forgotten by Python while the submodules it had loaded are kept, so its next
import fails in ways nobody understands (`import asyncio`: NameError: name 'coroutines' is not defined). The worker
lives on after a cancelled task: the import ends first.
"""

from __future__ import annotations

import _thread
import signal
import sys
import time
from types import FrameType

__all__ = ["install"]

_IMPORTER = "<frozen importlib._bootstrap>"
_LOOK_AGAIN_S = 0.005
_PATIENCE_S = 10.0  # a module may run a whole program, or hang


class _Interrupter:
    """Handles the signal that a cancelled call gets: raises KeyboardInterrupt where no import is under way."""

    def __init__(self) -> None:
        self._raise = signal.default_int_handler
        self._is_repeated = False
        self._has_patience = True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        is_repeated, self._is_repeated = self._is_repeated, False
        if is_repeated and not _is_cancelled():
            return  # the call that it was meant for has ended
        if self._has_patience and _is_importing(frame):
            _thread.start_new_thread(self._interrupt_later, (_thread.get_ident(),))
            return
        self._has_patience = True
        self._raise(number, frame)

    def _interrupt_later(self, main_thread: int) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while _is_importing(sys._current_frames().get(main_thread)):
            if time.monotonic() > deadline:
                self._has_patience = False
                break
            time.sleep(_LOOK_AGAIN_S)
        self._is_repeated = True
        signal.pthread_kill(main_thread, signal.SIGINT)


def install() -> None:
    """Handle SIGINT in this process as Python does, but for imports."""
    interrupter = _Interrupter()
    # asyncio.run() cancels its task in place of Python's own handler only.
    signal.default_int_handler = interrupter  # type: ignore[assignment]
    signal.signal(signal.SIGINT, interrupter)


def _is_cancelled() -> bool:
    from narke import _native

    return _native.is_cancelled()


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename != _IMPORTER:
        frame = frame.f_back
    return frame is not None
