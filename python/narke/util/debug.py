"""Helpers that keep logs quiet and that find growing allocations."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from narke.util.annotations import DeveloperAPI

__all__ = ["Suspect", "disable_log_once_globally", "enable_periodic_logging", "log_once", "reset_log_once"]

_REPEAT_AFTER_S = 60.0
_SNAPSHOT_FRAMES = 15


class _LogState:
    """When each key was last let through, and whether keys come back periodically."""

    def __init__(self) -> None:
        self.last_logged_s: dict[str, float] = {}
        self.disabled = False
        self.periodic = False

    def admit(self, key: str, now_s: float) -> bool:
        """True when a message with this key should be logged now."""
        if self.disabled:
            return False
        seen_at = self.last_logged_s.get(key)
        if seen_at is not None and not (self.periodic and now_s - seen_at > _REPEAT_AFTER_S):
            return False
        self.last_logged_s[key] = now_s
        return True


_state = _LogState()


@DeveloperAPI
def log_once(key: str) -> bool:
    """Say whether the message named `key` should be logged: true the first time in this process.

    After `enable_periodic_logging` it is true again once 60 seconds have passed.
    """
    return _state.admit(key, time.monotonic())


@DeveloperAPI
def disable_log_once_globally() -> None:
    """Make `log_once` answer false in this process."""
    _state.disabled = True


@DeveloperAPI
def enable_periodic_logging() -> None:
    """Let each `log_once` key through again every 60 seconds."""
    _state.periodic = True


@DeveloperAPI
def reset_log_once(key: str | None = None) -> None:
    """Forget one key, or all of them, so that `log_once` answers true again."""
    if key is None:
        _state.last_logged_s.clear()
    else:
        _state.last_logged_s.pop(key, None)


class Suspect(NamedTuple):
    """A line of code whose memory grew while a piece of code ran repeatedly."""

    traceback: Any
    """Where the memory was allocated."""
    memory_increase: int
    """Bytes gained between the first and the last run."""
    slope: float
    """Bytes gained per run, by linear regression."""
    rvalue: float
    """Correlation of memory with the number of the run (1.0: grows with every run)."""
    hist: list[int]
    """Bytes held after each run."""


def _test_some_code_for_memory_leaks(
    desc: str,
    init: Callable[[], Any] | None,
    code: Callable[[], Any],
    repeats: int,
    max_num_trials: int = 1,
) -> list[Suspect]:
    """Run `code` repeatedly and return the allocation sites that keep growing.

    Args:
        desc: what is tested, for the printed report.
        init: called before each trial.
        code: called `repeats` times a trial.
        repeats: runs in the first trial; each further trial runs twice as many.
        max_num_trials: trials to make; only sites suspected in every trial are returned.

    Returns:
        Suspects of the last trial, worst first.
    """
    confirmed: set[Any] | None = None
    suspects: list[Suspect] = []
    for trial in range(max_num_trials):
        if init is not None:
            init()
        suspects = _growing_sites(code, repeats * 2**trial)
        sites = {suspect.traceback for suspect in suspects}
        confirmed = sites if confirmed is None else confirmed & sites
        if not confirmed:
            return []
    kept = [suspect for suspect in suspects if suspect.traceback in (confirmed or ())]
    for suspect in kept:
        print(
            f"{desc}: {suspect.memory_increase} B more, {suspect.slope:.0f} B a run",
            *suspect.traceback.format(),
            sep="\n",
        )
    return kept


def _growing_sites(code: Callable[[], Any], repeats: int) -> list[Suspect]:
    """Run under tracemalloc and fit a line through each site's memory."""
    history: dict[Any, list[int]] = defaultdict(list)
    own = [tracemalloc.Filter(False, path) for path in (__file__, tracemalloc.__file__)]
    tracemalloc.start(_SNAPSHOT_FRAMES)
    try:
        for run in range(repeats):
            code()
            gc.collect()
            snapshot = tracemalloc.take_snapshot().filter_traces(own)
            for stat in snapshot.statistics("traceback"):
                sizes = history[stat.traceback]
                sizes.extend([0] * (run - len(sizes)))
                sizes.append(stat.size)
    finally:
        tracemalloc.stop()
    suspects = [
        _suspect(site, sizes) for site, sizes in history.items() if len(sizes) == repeats and repeats > 2
    ]
    leaks = [s for s in suspects if s.slope > 60.0 and s.rvalue > 0.9 and s.memory_increase > 1000]
    leaks = [s for s in leaks if s.hist[-1] > s.hist[-1 - repeats // 3]]  # what fills up and stops is no leak
    return sorted(leaks, key=lambda s: -s.memory_increase)


def _suspect(site: Any, sizes: list[int]) -> Suspect:
    slope, rvalue = _regression(sizes)
    return Suspect(site, sizes[-1] - sizes[0], slope, rvalue, sizes)


def _regression(values: list[int]) -> tuple[float, float]:
    """Slope and correlation of values over 0, 1, 2, ..."""
    n = len(values)
    mean_x, mean_y = (n - 1) / 2, sum(values) / n
    var_x = sum((x - mean_x) ** 2 for x in range(n))
    var_y = sum((y - mean_y) ** 2 for y in values)
    cov = sum((x - mean_x) * (y - mean_y) for x, y in enumerate(values))
    return (cov / var_x if var_x else 0.0, cov / (var_x * var_y) ** 0.5 if var_x and var_y else 0.0)
