"""Actors whose methods run in several threads: one set of threads for each concurrency group."""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["start"]

_MAIN_GROUP = ""


def start(native: Any, limits: dict[str, int]) -> None:
    """Run an actor's calls until it must leave.

    Args:
        native: the extension.
        limits: number of threads by group; ``""`` is the group of methods without one.
    """
    threads = [
        threading.Thread(
            target=_run, args=(native, group), name=f"narke-{group or 'actor'}-{index}", daemon=True
        )
        for group, limit in limits.items()
        for index in range(limit - (group == _MAIN_GROUP))
    ]
    for thread in threads:
        thread.start()
    # Signals reach the main thread: it takes part, so that a call it runs can be interrupted.
    _run(native, _MAIN_GROUP)
    for thread in threads:
        thread.join(timeout=1.0)


def _run(native: Any, group: str) -> None:
    while native.run_one(group):
        pass
