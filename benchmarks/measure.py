"""Clocks and scales for the benchmarks: rates, memory of processes, and the engine under test."""

from __future__ import annotations

import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

__all__ = [
    "ENGINE_VARIABLE",
    "LOWER_IS_BETTER",
    "descendants",
    "load_engine",
    "median_rate",
    "memory_mb",
    "peak_memory_mb",
    "timed",
]

ROOT = Path(__file__).resolve().parents[1]
ENGINE_VARIABLE = "NARKE_BENCH_ENGINE"
LOWER_IS_BETTER = frozenset({"s", "ms", "MB"})
MIN_SLICES = 3
SLICES = 5


def load_engine() -> tuple[ModuleType, float]:
    """Import the engine that the environment variable names: ``narke`` (the default) or ``ray``.

    Returns:
        the package, and how many seconds its import took.
    """
    name = os.environ.get(ENGINE_VARIABLE, "narke")
    if name not in ("narke", "ray"):
        sys.exit(f"{ENGINE_VARIABLE} is {name!r}; set it to narke or ray")
    if name == "narke":
        sys.path.insert(1, str(ROOT / "python"))
    start = time.perf_counter()
    package = importlib.import_module(name)
    return package, time.perf_counter() - start


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that one call takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def median_rate(action: Callable[[], object], operations: int, seconds: float) -> float:
    """Return operations per second: the median over slices of time, after one call to warm up.

    Args:
        action: does so many `operations` in each call.
        seconds: how long to measure; at least three slices are taken, however long a call lasts.
    """
    action()
    rates: list[float] = []
    end = time.perf_counter() + seconds
    while len(rates) < MIN_SLICES or time.perf_counter() < end:
        rates.append(_slice(action, seconds / SLICES) * operations)
    return statistics.median(rates)


def _slice(action: Callable[[], object], seconds: float) -> float:
    calls = 0
    start = time.perf_counter()
    spent = 0.0
    while spent <= seconds:
        action()
        calls += 1
        spent = time.perf_counter() - start
    return calls / spent


def descendants(root: int) -> set[int]:
    """Return the ids of all processes that descend from `root`, without it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    left = [root]
    while left:
        new = set(children.get(left.pop(), ())) - found
        found |= new
        left.extend(new)
    return found


def _parent(entry: Path) -> int | None:
    """The parent's id; None when the process ended meanwhile."""
    try:
        # The command's name stands in parentheses and may hold anything, so fields count from the last one.
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def memory_mb(processes: set[int]) -> float:
    """Return the memory of processes in MB: proportional set size, in which shared pages are counted once."""
    return sum(_field_kb(f"/proc/{process}/smaps_rollup", "Pss:") for process in processes) / 1024


def peak_memory_mb() -> float:
    """Return the most memory that this process has had resident, in MB."""
    return _field_kb("/proc/self/status", "VmHWM:") / 1024


def _field_kb(path: str, name: str) -> int:
    """A field of a file of /proc; 0 when the process ended meanwhile."""
    try:
        with open(path) as file:
            return next((int(line.split()[1]) for line in file if line.startswith(name)), 0)
    except (FileNotFoundError, ProcessLookupError):
        return 0
