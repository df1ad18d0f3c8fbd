"""Calls back when objects become ready: between the extension's tokens and Python's futures.

The extension collects tokens of things that became ready and makes a descriptor readable. Every event loop that waits
for something watches it, and so does one thread once someone waits without a loop; whoever wakes takes all tokens and
passes each to where it belongs.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import select
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from narke._private import async_actor, session

__all__ = ["call_when_ready", "deliver", "forget", "watch_from_loop", "watch_from_thread"]

_tokens = itertools.count(1)
_callbacks: dict[int, Callable[[], None]] = {}
_loops: weakref.WeakKeyDictionary[Any, tuple[int, int]] = weakref.WeakKeyDictionary()
_thread_of: int | None = None  # the process the watching thread belongs to
_lock = threading.Lock()


def call_when_ready(register: Callable[[int], Any], callback: Callable[[], None]) -> int:
    """Have `callback` called, from any thread, once what `register` was given a token for is ready.

    Args:
        register: hands the token to the extension.
        callback: must be quick and not raise.

    Returns:
        the token, for `forget`.
    """
    token = next(_tokens)
    _callbacks[token] = callback
    try:
        register(token)
    except BaseException:
        _callbacks.pop(token, None)
        raise
    return token


def forget(token: int) -> None:
    """Do not call back for a token any more."""
    _callbacks.pop(token, None)


def deliver(token: int) -> None:
    """Call back for a token."""
    callback = _callbacks.pop(token, None)
    if callback is not None:
        callback()


def _dispatch() -> None:
    # Not session.native(): the session may have ended meanwhile, and that would begin one.
    from narke import _native

    for token in _native.take_ready():
        deliver(token)


def watch_from_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Let an event loop look after tokens and after the engine's sockets; in its thread."""
    native = session.native()
    fds = (native.ready_fd(), native.sockets_fd())
    if _loops.get(loop) == fds:
        return
    _loops[loop] = fds
    try:
        loop.add_reader(fds[0], _dispatch)
        if not async_actor.owns(loop):  # its own reader of the sockets takes arriving calls as well
            loop.add_reader(fds[1], native.poll)
    except NotImplementedError:  # loops of other libraries may lack it
        watch_from_thread()


def watch_from_thread() -> None:
    """Let a thread look after tokens; it ends with the connection."""
    global _thread_of
    with _lock:
        if _thread_of == os.getpid():
            return
        _thread_of = os.getpid()
        threading.Thread(target=_watch, name="narke-ready", daemon=True).start()


def _watch() -> None:
    global _thread_of
    with session.Background():
        while session.current() is not None:
            _wait_for_tokens()
            _dispatch()
    with _lock:
        _thread_of = None


def _wait_for_tokens() -> None:
    from narke import _native

    try:
        fd = os.dup(_native.ready_fd())  # its own: shutdown() may close the engine's at any moment
    except OSError:  # it has
        time.sleep(0.01)
        return
    try:
        select.select([fd], [], [], 0.5)
    finally:
        os.close(fd)


def _on_close() -> None:
    _callbacks.clear()
    for loop, fds in list(_loops.items()):
        if not loop.is_closed():
            loop.call_soon_threadsafe(_unwatch, loop, fds)
    _loops.clear()


def _unwatch(loop: asyncio.AbstractEventLoop, fds: tuple[int, int]) -> None:
    for fd in fds:
        with contextlib.suppress(NotImplementedError):
            loop.remove_reader(fd)


session.on_close(_on_close)
