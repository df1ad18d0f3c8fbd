"""The rows of core performance, for one engine: what a Ray program waits for, one figure each.

    python benchmarks/rows.py [--only RE] [--seconds S] [--json FILE]

NARKE_BENCH_ENGINE=ray measures the Ray of this interpreter instead of Narke; run.py compares the two. Every row
checks the values it receives, so an engine that is fast and wrong has no figure. More is better, except for s and MB.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from measure import descendants, load_engine, median_rate, memory_mb, timed

ray, IMPORT_S = load_engine()

import numpy as np  # noqa: E402  (an engine that imports it pays for that itself)

MB = 1 << 20
SETTLE_S = 3.0  # idle memory is read after workers have started and calmed down
GROUP_TIMEOUT_S = 30


@dataclass(frozen=True)
class Row:
    """One figure: how it is called, counted and measured in so many seconds."""

    name: str
    unit: str
    about: str
    measure: Callable[[float], float]


ROWS: list[Row] = []


def row(unit: str) -> Callable[[Callable[[float], float]], Callable[[float], float]]:
    """Enter a function as a row; its docstring says what it measures."""

    def enter(function: Callable[[float], float]) -> Callable[[float], float]:
        about = (function.__doc__ or "").strip()
        ROWS.append(Row(function.__name__, unit, about, function))
        return function

    return enter


# ---- what runs in workers --------------------------------------------------------------------------------


@ray.remote
def reply() -> bytes:
    return b"ok"


@ray.remote
def increment(number: int) -> int:
    return number + 1


@ray.remote
def size_of(value: Any) -> int:
    return len(value)


@ray.remote
def how_many(*values: Any) -> int:
    return len(values)


@ray.remote(num_returns=1000)
def thousand() -> tuple[int, ...]:
    return tuple(range(1000))


@ray.remote(num_cpus=0)
class Tally:
    """An actor that counts, replies, and calls others like it."""

    def __init__(self) -> None:
        self.total = 0

    def reply(self) -> bytes:
        return b"ok"

    def add(self, number: int) -> int:
        self.total += number
        return self.total

    def call_others(self, others: list[Any], calls: int) -> int:
        answers = ray.get([others[i % len(others)].reply.remote() for i in range(calls)])
        assert answers == [b"ok"] * calls
        return calls


@ray.remote(num_cpus=0)
class AsyncTally:
    """An actor whose method is a coroutine."""

    async def reply(self) -> bytes:
        return b"ok"


# ---- objects ---------------------------------------------------------------------------------------------


@row("ops/s")
def get_small(seconds: float) -> float:
    """get of one small object"""
    ref = ray.put(0)

    def step() -> None:
        assert ray.get(ref) == 0

    return median_rate(step, 1, seconds)


@row("ops/s")
def put_small(seconds: float) -> float:
    """put of one small object"""
    rate = median_rate(lambda: ray.put(0), 1, seconds)
    assert ray.get(ray.put(7)) == 7
    return rate


@row("GB/s")
def put_800mb(seconds: float) -> float:
    """put of an array of 800 MiB of random bytes"""
    array = np.random.default_rng(1).integers(0, 255, 800 * MB, dtype=np.uint8)
    rate = median_rate(lambda: ray.put(array), array.nbytes, seconds) / 1e9
    assert ray.get(ray.put(array))[-1] == array[-1]
    return rate


@row("ops/s")
def get_100mb_zero_copy(seconds: float) -> float:
    """get of an array of 100 MiB, read in place"""
    array = np.arange(100 * MB // 8)
    ref = ray.put(array)

    def step() -> None:
        found = ray.get(ref)
        assert found[-1] == array[-1] and not found.flags.writeable

    return median_rate(step, 1, seconds)


@row("ops/s")
def get_list_of_10k_refs(seconds: float) -> float:
    """get of one object that holds 10,000 references"""
    refs = [ray.put(i) for i in range(10_000)]
    box = ray.put(refs)

    def step() -> None:
        assert len(ray.get(box)) == 10_000

    return median_rate(step, 1, seconds)


@row("objects/s")
def get_10k_objects(seconds: float) -> float:
    """one get of 10,000 references"""
    refs = [ray.put(i) for i in range(10_000)]

    def step() -> None:
        assert ray.get(refs)[-1] == 9_999

    return median_rate(step, 10_000, seconds)


# ---- tasks -----------------------------------------------------------------------------------------------


@row("tasks/s")
def task_sync(seconds: float) -> float:
    """one task after another, each awaited"""

    def step() -> None:
        assert ray.get(reply.remote()) == b"ok"

    return median_rate(step, 1, seconds)


@row("tasks/s")
def task_async_1k(seconds: float) -> float:
    """1,000 tasks at once, then one get"""

    def step() -> None:
        assert ray.get([reply.remote() for _ in range(1000)]) == [b"ok"] * 1000

    return median_rate(step, 1000, seconds)


@row("tasks/s")
def task_chain_100(seconds: float) -> float:
    """100 tasks, each taking the result of the one before"""

    def step() -> None:
        value: Any = 0
        for _ in range(100):
            value = increment.remote(value)
        assert ray.get(value) == 100

    return median_rate(step, 100, seconds)


@row("tasks/s")
def task_1mb_arg(seconds: float) -> float:
    """20 tasks at once with an argument of 1 MiB each"""
    block = np.zeros(MB, dtype=np.uint8)

    def step() -> None:
        assert ray.get([size_of.remote(block) for _ in range(20)]) == [MB] * 20

    return median_rate(step, 20, seconds)


@row("rounds/s")
def wait_1k(seconds: float) -> float:
    """1,000 tasks collected one by one with wait"""

    def step() -> None:
        waiting = [reply.remote() for _ in range(1000)]
        collected = 0
        while waiting:
            ready, waiting = ray.wait(waiting)
            collected += len(ready)
        assert collected == 1000

    return median_rate(step, 1, seconds)


@row("args/s")
def task_1k_ref_args(seconds: float) -> float:
    """a task with 1,000 references as arguments"""
    refs = [ray.put(i) for i in range(1000)]

    def step() -> None:
        assert ray.get(how_many.remote(*refs)) == 1000

    return median_rate(step, 1000, seconds)


@row("results/s")
def task_1k_returns(seconds: float) -> float:
    """a task with 1,000 results"""

    def step() -> None:
        assert ray.get(thousand.remote())[-1] == 999

    return median_rate(step, 1000, seconds)


@row("tasks/s")
def queue_20k_tasks(seconds: float) -> float:
    """20,000 tasks submitted, then awaited; once"""
    results: list[int] = []
    spent = timed(lambda: results.extend(ray.get([increment.remote(i) for i in range(20_000)])))
    assert results == list(range(1, 20_001))
    return 20_000 / spent


# ---- actors ----------------------------------------------------------------------------------------------


@row("calls/s")
def actor_sync(seconds: float) -> float:
    """one actor call after another, each awaited"""
    actor = Tally.remote()

    def step() -> None:
        assert ray.get(actor.reply.remote()) == b"ok"

    return median_rate(step, 1, seconds)


@row("calls/s")
def actor_async_1k(seconds: float) -> float:
    """1,000 calls of one actor at once, in order"""
    actor = Tally.remote()
    total = ray.get(actor.add.remote(0))

    def step() -> None:
        nonlocal total
        answers = ray.get([actor.add.remote(1) for _ in range(1000)])
        assert answers == list(range(total + 1, total + 1001)), "calls of one caller must run in order"
        total += 1000

    return median_rate(step, 1000, seconds)


@row("calls/s")
def actor_concurrent_1k(seconds: float) -> float:
    """1,000 calls at once of an actor with 16 threads"""
    actor = Tally.options(max_concurrency=16).remote()

    def step() -> None:
        assert ray.get([actor.reply.remote() for _ in range(1000)]) == [b"ok"] * 1000

    return median_rate(step, 1000, seconds)


@row("calls/s")
def actor_n_to_n(seconds: float) -> float:
    """2 actors that each make 1,000 calls of 2 others"""
    callers = [Tally.remote() for _ in range(2)]
    callees = [Tally.remote() for _ in range(2)]

    def step() -> None:
        assert ray.get([caller.call_others.remote(callees, 1000) for caller in callers]) == [1000, 1000]

    return median_rate(step, 2000, seconds)


@row("calls/s")
def async_actor_sync(seconds: float) -> float:
    """one call of a coroutine method after another"""
    actor = AsyncTally.remote()

    def step() -> None:
        assert ray.get(actor.reply.remote()) == b"ok"

    return median_rate(step, 1, seconds)


@row("calls/s")
def async_actor_async_1k(seconds: float) -> float:
    """1,000 calls of a coroutine method at once"""
    actor = AsyncTally.remote()

    def step() -> None:
        assert ray.get([actor.reply.remote() for _ in range(1000)]) == [b"ok"] * 1000

    return median_rate(step, 1000, seconds)


@row("actors/s")
def actor_creation_20(seconds: float) -> float:
    """20 actors created, called once and killed"""

    def step() -> None:
        actors = [Tally.remote() for _ in range(20)]
        assert ray.get([actor.reply.remote() for actor in actors]) == [b"ok"] * 20
        for actor in actors:
            ray.kill(actor)

    return median_rate(step, 20, max(seconds, 3.0))


@row("groups/s")
def placement_group_100(seconds: float) -> float:
    """100 placement groups of one bundle: created, awaited, removed"""
    util = importlib.import_module(f"{ray.__name__}.util")

    def step() -> None:
        groups = [util.placement_group([{"bench": 0.001}]) for _ in range(100)]
        assert all(group.wait(GROUP_TIMEOUT_S) for group in groups)
        for group in groups:
            util.remove_placement_group(group)

    return median_rate(step, 100, seconds)


# ---- the start, which happens once, and the program ------------------------------------------------------


def start() -> dict[str, dict[str, Any]]:
    """Start a cluster; returns the rows about how long that takes and what it needs."""
    init_s = timed(
        lambda: ray.init(
            address="local",
            num_cpus=2,
            resources={"bench": 100},
            include_dashboard=True,
            object_store_memory=4096 * MB,
        )
    )
    answers: list[bytes] = []
    first_s = timed(lambda: answers.append(ray.get(reply.remote())))
    assert answers == [b"ok"]
    time.sleep(SETTLE_S)
    idle_mb = memory_mb(descendants(os.getpid()))
    return {
        "import": entry("s", "import of the package", IMPORT_S),
        "init": entry("s", "init() of a cluster on this machine", init_s),
        "first_task": entry("s", "the first task after init", first_s),
        "idle_memory": entry("MB", "all processes but the program's, idle", idle_mb),
    }


def entry(unit: str, about: str, value: float | None, error: str = "") -> dict[str, Any]:
    """A row's outcome as it is written to JSON."""
    return {"unit": unit, "about": about, "value": value, "error": error}


def measure(chosen: Row, seconds: float) -> dict[str, Any]:
    """Measure a row; one that fails is an outcome too."""
    try:
        return entry(chosen.unit, chosen.about, chosen.measure(seconds))
    except Exception as error:
        return entry(chosen.unit, chosen.about, None, f"{type(error).__name__}: {error}"[:300])


def show(name: str, outcome: dict[str, Any]) -> None:
    """Print one row."""
    value = outcome["value"]
    figure = f"FAILED {outcome['error']}" if value is None else f"{value:16,.3f} {outcome['unit']}"
    print(f"{name:22}{figure}", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="regular expression of row names (all)")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each row (%(default)s)")
    parser.add_argument("--json", help="also write {row: {value, unit, about, error}} to this file")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    wanted = re.compile(options.only)
    outcomes: dict[str, dict[str, Any]] = {}
    for name, outcome in start().items():
        if wanted.search(name):
            outcomes[name] = outcome
            show(name, outcome)
    for chosen in ROWS:
        if wanted.search(chosen.name):
            outcomes[chosen.name] = measure(chosen, options.seconds)
            show(chosen.name, outcomes[chosen.name])
    if options.json:
        with open(options.json, "w") as file:
            json.dump(outcomes, file, indent=1)
    ray.shutdown()
    return int(any(outcome["value"] is None for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
