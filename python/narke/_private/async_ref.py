"""ObjectRefs as awaitables and as futures."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Generator
from typing import Any

from narke._private import readiness, session

__all__ = ["as_asyncio_future", "as_future", "await_ref", "until_ready", "waker"]


def await_ref(ref: Any) -> Generator[Any, None, Any]:
    """What ``await ref`` runs: waits without blocking the event loop, then gives the value or raises the error."""
    native = session.native()
    if not native.is_ready(ref):
        yield from until_ready(lambda token: native.on_ready(ref, token))
    return native.get(ref)


def until_ready(register: Callable[[int], Any]) -> Generator[Any, None, None]:
    """Wait in the running event loop until what `register` is given a token for is ready."""
    loop = asyncio.get_running_loop()
    readiness.watch_from_loop(loop)
    future, wake_from_anywhere = waker(loop)  # tokens may be taken by another thread than the loop's
    token = readiness.call_when_ready(register, wake_from_anywhere)
    try:
        yield from future.__await__()
    finally:
        readiness.forget(token)


def waker(loop: asyncio.AbstractEventLoop) -> tuple[asyncio.Future[None], Callable[[], None]]:
    """A future of a loop, and what any thread calls to end it; again, or when the loop is closed, nothing happens."""
    future = loop.create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    def wake_from_anywhere() -> None:
        if asyncio._get_running_loop() is loop:
            wake()
        elif not loop.is_closed():
            loop.call_soon_threadsafe(wake)

    return future, wake_from_anywhere


def as_future(ref: Any) -> concurrent.futures.Future[Any]:
    """A future that gets the value, or the error, once it is there."""
    native = session.native()
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    # The reference lives as long as the future: dropping it would drop the object.
    future.object_ref = ref  # type: ignore[attr-defined]

    def settle() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            value = native.get(ref)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(value)

    if native.is_ready(ref):
        settle()
    else:
        readiness.watch_from_thread()
        readiness.call_when_ready(lambda token: native.on_ready(ref, token), settle)
    return future


def as_asyncio_future(ref: Any) -> asyncio.Future[Any]:
    """The same for code that runs in an event loop.

    Raises:
        RuntimeError: no event loop runs on this thread.
    """
    return asyncio.wrap_future(as_future(ref), loop=asyncio.get_event_loop())
