"""The process that forks workers; the node gives it a descriptor's number N as its last argument.

It imports what every worker needs once, stays single-threaded so that forking is safe, and answers the node's
requests over the descriptor N. It ends when the node does. Between forks it runs no Python (see bindings/zygote.cc).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1
_EVERY_WORKER = (
    "cloudpickle",
    "narke.actor",
    "narke.job_config",
    "narke._native",
    "narke._private.actor_creation",
    "narke._private.branch",
    "narke._private.debugging",
    "narke._private.execution",
    "narke._private.generators",
    "narke._private.interrupts",
    "narke._private.machine",
    "narke._private.runtime_envs",
    "narke._private.serialization",
    "narke._private.worker_main",
)
_SOME_WORKERS = ("asyncio", "concurrent.futures.thread", "uuid", "narke._alias")
_QUIET_MS = 250  # without a request for so long, the zygote has time for the rest of its imports
_REHEARSALS = 16  # CPython specialises a function's code when it has run 8 times
_SINGLE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


def main(argv: list[str]) -> int:
    """Serve the node until it is gone; returns the process's exit status. In a forked worker it does not return."""
    link = int(argv[-1])
    os.set_inheritable(link, False)
    from narke import _native

    _native.lay_out_heap()
    hooks = _ForkHooks()
    with hooks.collected():
        _preload()
    hooks.register()
    _end_with_parent()
    _open_output()
    _rehearse()
    gc.collect()
    gc.freeze()
    return _serve(link, hooks)


def _end_with_parent() -> None:
    from narke._private import process

    parent = os.getppid()
    process.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before the request held
        os._exit(0)


def _open_output() -> None:
    from narke._private import debugging, interrupts, process, worker_main

    process.open_output()
    debugging.install()
    interrupts.install()
    worker_main.replace_hot_functions()


def _rehearse() -> None:
    """Do what workers do first, often enough for Python to have looked up and specialised what it does only once."""
    from narke._private import execution, serialization

    class Sample:
        def __init__(self) -> None:
            self.value = 1

        def method(self) -> int:
            return self.value

    pickled_class, pickled_function = (serialization.cloud_pickle(made) for made in (Sample, lambda x: x))
    for _ in range(_REHEARSALS):
        execution.load_class(pickled_class)().method()
        execution.load_function(pickled_function)(1)


class _ForkHooks:
    """What preloaded libraries do around forks, kept from the zygote's own (see bindings/fork_hooks.h)."""

    _KINDS = ("before", "after_in_parent", "after_in_child")

    def __init__(self) -> None:
        self._hooks: dict[str, list[Callable[[], Any]]] = {kind: [] for kind in self._KINDS}

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """While this lasts, hooks come here instead of to Python."""
        register = os.register_at_fork
        os.register_at_fork = self._collect  # type: ignore[assignment]
        try:
            yield
        finally:
            os.register_at_fork = register

    def _collect(self, **hooks: Callable[[], Any]) -> None:
        for kind, hook in hooks.items():
            # As Python does: what was registered last comes first before a fork.
            self._hooks[kind].insert(0 if kind == "before" else len(self._hooks[kind]), hook)

    def register(self) -> None:
        """Let Python run them in forks that others make."""
        from narke import _native

        os.register_at_fork(**{kind: _native.fork_hooks(self._hooks[kind]) for kind in self._KINDS})


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


def _preload_rest(hooks: _ForkHooks) -> None:
    """Import what fewer workers need, once the first ones are under way: nobody's first call waits for it."""
    with hooks.collected():
        for name in _SOME_WORKERS:
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _serve(link: int, hooks: _ForkHooks) -> int:
    """Serve the node until it is gone, or be a worker until its end."""
    zygote = os.getpid()
    status: int | None = 1
    try:
        status = _serve_as(link, hooks)
    except SystemExit as leave:
        status = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    if os.getpid() != zygote:
        from narke._private import process

        process.end(1 if status is None else status)
    return status or 0


def _serve_as(link: int, hooks: _ForkHooks) -> int | None:
    """Serve as the zygote, and then as each branch that this process becomes."""
    from narke import _native
    from narke._private import worker_main

    is_branch = False
    while True:
        end = _native.zygote_serve(
            link, _QUIET_MS, lambda: _preload_rest(hooks), worker_main.prepare, *_generators(), is_branch
        )
        if not isinstance(end, tuple):
            return end
        link, modules = end
        _become_branch(modules, hooks)
        is_branch = True


def _become_branch(modules: str, hooks: _ForkHooks) -> None:
    """Import what workers that are asked for with these modules need; raises when that cannot be (`branch.grow`)."""
    from narke._private import branch, worker_main

    _end_with_parent()
    worker_main.undress()
    try:
        with hooks.collected():
            branch.grow(modules)
    except branch.Unfit as why:
        print(f"Workers import {modules} for themselves: {why}.", file=sys.stderr)
        sys.exit(1)
    worker_main.undress(anew=True)
    _preload_rest(hooks)


def _generators() -> tuple[Callable[[], Any], int]:
    """How a child gets random numbers of its own: Python's generator's seed(), and where NumPy's state lies."""
    import random

    from narke._private import branch

    # The method of the C class: it runs no Python.
    seed = branch.seeding(super(random.Random, random._inst).seed)  # type: ignore[attr-defined]
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return seed, 0
    generator = numpy.random.get_bit_generator()
    if type(generator) is numpy.random.MT19937:
        return seed, generator.ctypes.state_address

    def seed_both() -> None:
        seed()
        numpy.random.seed()

    return seed_both, 0
