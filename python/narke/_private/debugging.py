"""What `breakpoint()` and failures do in workers: stop for a debugger when that is asked for."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["install", "on_breakpoint", "post_mortem"]

_FOR_EDITORS = "1"


def install() -> None:
    """Let `breakpoint()` wait for a debugger to connect: this process has no terminal."""
    sys.breakpointhook = on_breakpoint


def on_breakpoint(*args: Any, **kwargs: Any) -> Any:
    """Stop at the caller's line.

    RAY_DEBUG=1 waits for an editor (debugpy), anything else for ``narke debug``; PYTHONBREAKPOINT goes first.
    """
    if os.environ.get("PYTHONBREAKPOINT") is not None:
        return sys.__breakpointhook__(*args, **kwargs)
    if os.environ.get("RAY_DEBUG") == _FOR_EDITORS:
        from narke.util import debugpy

        return debugpy.stop()
    from narke.util import rpdb

    return rpdb.stop_at(sys._getframe(1))


def post_mortem(exc: BaseException) -> None:
    """Wait for a debugger at the place where user code has failed, if RAY_DEBUG_POST_MORTEM=1 asks for it.

    Args:
        exc: what it raised. Cancelled tasks, actors that leave and failures that come from other tasks are let through.
    """
    from narke.exceptions import RayError

    if os.environ.get("RAY_DEBUG_POST_MORTEM") != "1":
        return
    if isinstance(exc, (RayError, KeyboardInterrupt, SystemExit, GeneratorExit)) or exc.__traceback__ is None:
        return
    from narke.util import rpdb

    rpdb.post_mortem(exc)
