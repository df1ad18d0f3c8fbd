"""ns per operation of the value codec against pickle and cloudpickle.

    ./dev build && .venv/bin/python benchmarks/micro_value.py

Every figure is the best of several runs that take turns, so that a noisy machine slows all columns alike. The
codec's columns are timed inside the test module, without the cost of a call from Python; those of pickle and
cloudpickle contain some (about 300 ns for dump, 100 ns for load).
"""

from __future__ import annotations

import collections
import decimal
import importlib
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "build" / "test-modules")]
codec = importlib.import_module("narke_value_test")

ROUND_NS = 4_000_000
TURNS = 7
MB_100 = 100_000_000


class Local:
    """A class of __main__: travels by value."""


def values() -> dict[str, Any]:
    """Return what is measured, by name."""
    return {
        "None": None,
        "int": 12345,
        "float": 1.5,
        "str, 10": "0123456789",
        "str, 1000 (not ASCII)": "é" * 500,
        "bytes, 10": b"0123456789",
        "bytes, 1 MB": bytes(1_000_000),
        "tuple of 3 ints": (1, 2, 3),
        "dict, nested": {"name": "a", "values": [1, 2.5, None], "meta": {"ok": True}},
        "dict of 1000": {str(i): i for i in range(1000)},
        "list of 10k ints": list(range(10_000)),
        "Decimal": decimal.Decimal("1.5"),
        "OrderedDict": collections.OrderedDict(a=1),
        "instance of __main__": Local(),
        "array, 800 B": np.arange(100.0),
        "array, 100 MB": np.ones(MB_100 // 8),
        "2 arrays in a dict": {"x": np.arange(1000.0), "y": np.arange(1000)},
        "100 arrays in a list": [np.arange(100.0) for _ in range(100)],
    }


def once(action: Callable[[int], Any], rounds: int) -> float:
    start = time.perf_counter_ns()
    action(rounds)
    return (time.perf_counter_ns() - start) / rounds


def repeat(call: Callable[[], Any]) -> Callable[[int], Any]:
    """Return a function that makes the call so many times."""

    def run(rounds: int) -> None:
        for _ in range(rounds):
            call()

    return run


def dump(pickler: Any, value: Any) -> tuple[bytes, list[Any]]:
    buffers: list[Any] = []
    data = pickler.dumps(value, protocol=5, buffer_callback=buffers.append)
    return data, [buffer.raw().toreadonly() for buffer in buffers]


def columns(value: Any) -> dict[str, Callable[[int], float]]:
    """Return one timer for each column: rounds -> ns per operation."""
    encoded = codec.encode(value)
    out: dict[str, Callable[[int], float]] = {
        "encode": lambda rounds: codec.time_encode(value, rounds),
        "write": lambda rounds: codec.time_write(value, rounds),
        "decode": lambda rounds: codec.time_decode(encoded, True, rounds),
    }
    for pickler in (pickle, cloudpickle):
        data, buffers = dump(pickler, value)
        out[f"{pickler.__name__} dump"] = lambda n, p=pickler: once(repeat(lambda: dump(p, value)), n)
        out[f"{pickler.__name__} load"] = lambda n, d=data, b=buffers: once(
            repeat(lambda: pickle.loads(d, buffers=b)), n
        )
    return out


def measure(timers: dict[str, Callable[[int], float]]) -> dict[str, float]:
    rounds = {name: max(1, int(ROUND_NS / timer(1))) for name, timer in timers.items()}
    best = dict.fromkeys(timers, float("inf"))
    for _ in range(TURNS):
        for name, timer in timers.items():
            best[name] = min(best[name], timer(rounds[name]))
    return best


def show(name: str, best: dict[str, float]) -> None:
    print(f"{name:24}" + "".join(f"{best[column]:>17,.0f}" for column in best), flush=True)


def main() -> None:
    names = None
    for name, value in values().items():
        timers = columns(value)
        if names is None:
            names = list(timers)
            print(f"{'ns':24}" + "".join(f"{column:>17}" for column in names))
        show(name, measure(timers))
    refs = [codec.make_ref(b"%028d" % i, b"owner of the ref, an address") for i in range(10_000)]
    encoded = codec.encode(refs)
    timers = {
        "encode": lambda rounds: codec.time_encode(refs, rounds),
        "write": lambda rounds: codec.time_write(refs, rounds),
        "decode": lambda rounds: codec.time_decode(encoded, True, rounds),
    }
    show("list of 10k refs", measure(timers))


if __name__ == "__main__":
    main()
