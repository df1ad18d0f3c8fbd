"""The process that forks workers; the node gives it a descriptor's number N as its last argument.

It imports what every worker needs once, stays single-threaded so that forking is safe, and answers the node's
requests over the descriptor N. It ends when the node does.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
from typing import Any

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1
_EVERY_WORKER = (
    "cloudpickle",
    "narke.actor",
    "narke.job_config",
    "narke._native",
    "narke._private.actor_creation",
    "narke._private.execution",
    "narke._private.generators",
    "narke._private.machine",
    "narke._private.runtime_envs",
    "narke._private.serialization",
    "narke._private.worker_main",
)
_SOME_WORKERS = ("asyncio", "concurrent.futures.thread", "uuid", "narke._alias")
_QUIET_S = 0.25  # without a request for so long, the zygote has time for the rest of its imports
_SINGLE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


def main(argv: list[str]) -> int:
    """Serve the node until it is gone; returns the process's exit status. In a forked worker it does not return."""
    from narke._private import process

    link = int(argv[-1])
    os.set_inheritable(link, False)
    _end_with_parent()
    _preload()
    wake = _wake_on_child()
    process.title_area()  # remembered: it does not change over a fork
    gc.collect()
    gc.freeze()
    return _serve(link, wake)


def _end_with_parent() -> None:
    from narke._private import process

    parent = os.getppid()
    process.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before the request held
        os._exit(0)


def _preload() -> None:
    """Import what workers need; libraries that start threads are kept from it."""
    kept = {name: os.environ.get(name) for name in _SINGLE_THREAD}
    os.environ.update(_SINGLE_THREAD)
    try:
        for name in _EVERY_WORKER:
            importlib.import_module(name)
        if os.environ.get("NARKE_AS_RAY") == "1":
            from narke import _alias

            _alias.install()
        with contextlib.suppress(ImportError):  # optional: workers without it do without
            importlib.import_module("numpy.random")
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _preload_rest() -> None:
    """Import what fewer workers need, once the first ones are under way: nobody's first call waits for it."""
    for name in _SOME_WORKERS:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _wake_on_child() -> int:
    """A descriptor that is readable after a child ended."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the driver's terminal is the driver's matter
    return reader


def _serve(link: int, wake: int) -> int:
    from narke import _native

    has_rest = False
    while True:
        readable, _, _ = select.select([link, wake], [], [], None if has_rest else _QUIET_S)
        if not readable:
            _preload_rest()
            has_rest = True
        if wake in readable:
            _drain(wake)
            _report_children(link)
        if link in readable:
            request = _native.zygote_read(link)
            if request is None:
                return 0
            _fork(link, wake, request["worker"], request["config"])


def _drain(wake: int) -> None:
    try:
        while os.read(wake, 4096):
            pass
    except BlockingIOError:
        return


def _report_children(link: int) -> None:
    from narke import _native

    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _native.zygote_child_exited(link, pid, status)


def _fork(link: int, wake: int, worker: bytes, config: dict[str, Any]) -> None:
    from narke import _native

    try:
        pid = os.fork()
    except OSError as error:
        _native.zygote_forked(link, worker, 0, str(error))
        return
    if pid == 0:
        _become_worker(link, wake, worker, config)
    _native.zygote_forked(link, worker, pid, "")


def _become_worker(link: int, wake: int, worker: bytes, config: dict[str, Any]) -> None:
    """Run a worker in the forked child; ends the process."""
    status = 1
    try:
        _reset(link, wake)
        from narke._private import worker_main

        status = worker_main.main({**config, "worker": worker})
    except SystemExit as leave:
        status = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        from narke._private import process

        process.end(status)


def _reset(link: int, wake: int) -> None:
    writer = signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for fd in (link, wake, writer):
        os.close(fd)
    os.setsid()
    gc.enable()
