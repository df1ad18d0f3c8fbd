"""Modules that a library's tasks and actors import anyway: named with what they submit, so that workers have them.

The node's zygote forks workers for such requests from a branch of its own that has imported them (`branch`).
NARKE_PRELOAD=0 turns this off.
"""

from __future__ import annotations

import os

from narke._private import session

TYPE_CHECKING = False  # typing is not cheap to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["DATA", "SERVE", "TORCH", "TUNE", "announce", "expect", "worker_kind"]

# Sets are few, and each of a library's sets is used by all of its workers: every set is a process.
DATA = (
    "pyarrow.compute",
    "pyarrow.parquet",
    "narke.data.datasource.parquet",
    "narke.data.exchange",
    "narke.data.execute.pool",
    "narke.data.execute.tasks",
    "narke.data.transforms",
    "pandas",  # PyArrow imports it to make an array of Python's values
)
SERVE = (
    "narke.serve._private.controller",
    "narke.serve._private.proxy_actor",
    "narke.serve._private.replica",
    "narke.serve._private.logs",
    "narke.serve._private.requests",
)
TUNE = ("narke.tune.execution.worker",)
TORCH = ("narke.train.torch", "torch.distributed")

_expected: dict[tuple[str, ...], None] = {}  # in the order they came


def worker_kind(modules: tuple[str, ...] | None, env: Mapping[str, Any], text: str) -> str:
    """What a request tells the node of the workers it can use (`kind_of` in src/node/environments.h).

    Args:
        modules: names that are to be imported before such workers are forked; None for no such wish.
        env: the environment's fields. One that sets variables gets no modules: they may read them as they are imported.
        text: the same as nodes are told of it.
    """
    if not modules or env.get("env_vars") or os.environ.get("NARKE_PRELOAD") == "0":
        return text
    return f"+{','.join(modules)}\n{text}"


def expect(modules: tuple[str, ...]) -> None:
    """Have the node begin workers with these modules: now, or as soon as this program is connected.

    Harmless in a worker: its driver has said so.
    """
    here = session.current()
    if here is not None and here.mode != session.SCRIPT_MODE:
        return
    _expected[modules] = None
    if here is not None:
        _ask(here, modules)


def announce() -> None:
    """Tell the node what was expected before this program was connected."""
    here = session.current()
    if here is not None:
        for modules in _expected:
            _ask(here, modules)


def _ask(here: session.Session, modules: tuple[str, ...]) -> None:
    kind = worker_kind(modules, here.runtime_env, "")
    if kind:
        session.native().control("here:prestart", {"runtime_env": kind})
