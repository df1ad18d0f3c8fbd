"""Stands for ``ray._private.test_utils`` and ``ray._common.test_utils``: what test suites of libraries wait with."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import narke

__all__ = [
    "Semaphore",
    "SignalActor",
    "async_wait_for_condition",
    "run_string_as_driver",
    "wait_for_condition",
]


def _failed(timeout: float, error: BaseException | None) -> RuntimeError:
    told = f" Last exception: {error!r}" if error is not None else ""
    return RuntimeError(f"The condition wasn't met before the timeout expired ({timeout:g} s).{told}")


def wait_for_condition(
    condition_predictor: Callable[..., bool],
    timeout: float = 10,
    retry_interval_ms: float = 100,
    raise_exceptions: bool = False,
    **kwargs: Any,
) -> None:
    """Wait until a function returns true.

    Args:
        condition_predictor: the function; what it raises counts as false.
        timeout: seconds to wait.
        retry_interval_ms: milliseconds between calls.
        raise_exceptions: let its exceptions through.
        kwargs: its arguments.

    Raises:
        RuntimeError: it never was.
    """
    deadline, error = time.monotonic() + timeout, None
    while time.monotonic() <= deadline:
        try:
            if condition_predictor(**kwargs):
                return
        except Exception as raised:
            if raise_exceptions:
                raise
            error = raised
        time.sleep(retry_interval_ms / 1000)
    raise _failed(timeout, error)


async def async_wait_for_condition(
    condition_predictor: Callable[..., Any],
    timeout: float = 10,
    retry_interval_ms: float = 100,
    **kwargs: Any,
) -> None:
    """As `wait_for_condition`, for functions and coroutine functions."""
    deadline, error = time.monotonic() + timeout, None
    while time.monotonic() <= deadline:
        try:
            answer = condition_predictor(**kwargs)
            if await answer if inspect.isawaitable(answer) else answer:
                return
        except Exception as raised:
            error = raised
        await asyncio.sleep(retry_interval_ms / 1000)
    raise _failed(timeout, error)


def run_string_as_driver(driver_script: str, env: dict[str, str] | None = None, encode: str = "utf-8") -> str:
    """Run a text as a program of its own; returns what it printed.

    Args:
        driver_script: the program.
        env: its environment; this process's by default.
        encode: of the text.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    ended = subprocess.run(
        [sys.executable, "-"],
        input=driver_script.encode(encode),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        check=False,
    )
    text = ended.stdout.decode(encode)
    if ended.returncode:
        print(text, file=sys.stderr)
        raise subprocess.CalledProcessError(ended.returncode, ended.args, text, text)
    return text


@narke.remote(num_cpus=0)
class SignalActor:
    """Lets many wait until one sends."""

    def __init__(self) -> None:
        self.ready_event = asyncio.Event()
        self.num_waiters = 0

    async def send(self, clear: bool = False) -> None:
        """Let all go on that wait; with `clear`, those that come later wait again."""
        self.ready_event.set()
        if clear:
            self.ready_event.clear()

    async def wait(self, should_wait: bool = True) -> None:
        """Return when it was sent."""
        if should_wait:
            self.num_waiters += 1
            await self.ready_event.wait()
            self.num_waiters -= 1

    async def cur_num_waiters(self) -> int:
        """How many wait now."""
        return self.num_waiters


@narke.remote(num_cpus=0)
class Semaphore:
    """An `asyncio.Semaphore` for tasks and actors."""

    def __init__(self, value: int = 1) -> None:
        self._sema = asyncio.Semaphore(value=value)

    async def acquire(self) -> None:
        """Take one; wait until there is one."""
        await self._sema.acquire()

    async def release(self) -> None:
        """Give one back."""
        self._sema.release()

    async def locked(self) -> bool:
        """Whether there is none left."""
        return self._sema.locked()
