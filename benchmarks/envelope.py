"""Ray's published envelope on this machine: how much of one thing a task, a get or a queue takes.

    python benchmarks/envelope.py [--rounds N] [--only RE] [--peer-tasks N] [--json FILE]
    python benchmarks/envelope.py --engine [--only RE]        the rows of one engine, a line of JSON each

Ray's release tests publish 10,000 arguments to one task, 3,000 returns, 10,000 objects in one get, a million queued
tasks, and a get of an object larger than 100 GiB. Here, for a small machine: the same counts where they fit, an object
of more than half the store's memory, and as many queued tasks as the peer ends in a moment (--peer-tasks): it does not
end 100,000 within 200 s; scaling.py queues the million. Rounds alternate the engines; a ratio is the median of theirs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from measure import ENGINE_VARIABLE, load_engine, timed
from peer import interpreter

STORE_BYTES = 2 << 30
LARGE_BYTES = (STORE_BYTES // 8) * 5  # more than half of the store
LARGE_GETS = 100
ROUND_LIMIT_S = 900
GOAL = 10.0


def rows_of(ray: Any, tasks: int) -> dict[str, Callable[[], float]]:
    """Return the rows of an engine that has been started: name to a function that returns seconds."""
    import numpy as np

    @ray.remote
    def total(*numbers: int) -> int:
        return sum(numbers)

    @ray.remote
    def increment(number: int) -> int:
        return number + 1

    @ray.remote(num_returns=3_000)
    def many() -> list[int]:
        return list(range(3_000))

    def arguments() -> float:
        refs = [ray.put(1) for _ in range(10_000)]

        def call() -> None:
            assert ray.get(total.remote(*refs)) == 10_000

        return timed(call)

    def returns() -> float:
        def call() -> None:
            assert ray.get(many.remote()) == list(range(3_000))

        return timed(call)

    def objects_in_get() -> float:
        refs = [ray.put(i) for i in range(10_000)]

        def call() -> None:
            assert ray.get(refs) == list(range(10_000))

        return timed(call)

    def queued() -> float:
        def call() -> None:
            answers = ray.get([increment.remote(i) for i in range(tasks)])
            assert answers[-1] == tasks and len(answers) == tasks

        return timed(call)

    def large_get() -> float:
        value = np.ones(LARGE_BYTES, dtype=np.uint8)
        ref = ray.put(value)

        def call() -> None:
            for _ in range(LARGE_GETS):
                read = ray.get(ref)
                assert read.nbytes == LARGE_BYTES and read[-1] == 1

        return timed(call) / LARGE_GETS

    return {
        "10,000 arguments": arguments,
        "3,000 returns": returns,
        "10,000 objects in one get": objects_in_get,
        f"{tasks:,} queued tasks": queued,
        "get of 5/8 of the store": large_get,
    }


def run_engine(only: str, tasks: int) -> None:
    """Measure the rows on the engine of this process; one line of JSON for each."""
    ray, _ = load_engine()
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=STORE_BYTES)
    wanted = re.compile(only)
    for name, measure in rows_of(ray, tasks).items():
        if not wanted.search(name):
            continue
        if not name.endswith("queued tasks") and not name.startswith("get"):
            measure()  # workers begin, code is loaded
        print(json.dumps({"row": name, "seconds": measure()}), flush=True)
    ray.shutdown()


def measured(engine: str, python: str, options: argparse.Namespace) -> dict[str, float]:
    """Run this file for one engine in a process of its own; rows to seconds."""
    environment = {**os.environ, ENGINE_VARIABLE: engine}
    command = [python, __file__, "--engine", "--only", options.only, "--peer-tasks", str(options.peer_tasks)]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, timeout=ROUND_LIMIT_S, check=True
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["row"]: line["seconds"] for line in lines}


def compare(options: argparse.Namespace) -> int:
    """Run the engines in turns and print the table; 1 when a row misses its goal."""
    peer = interpreter()
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    for number in range(options.rounds):
        order = ["narke", "ray"] if number % 2 == 0 else ["ray", "narke"]
        for engine in order:
            found = measured(engine, sys.executable if engine == "narke" else peer, options)
            for row, seconds in found.items():
                (ours if engine == "narke" else theirs).setdefault(row, []).append(seconds)
    table = []
    print(f"| {'row':26} | {'Narke ms':>10} | {'Ray ms':>10} | ratio |\n|---|---:|---:|---:|")
    for row, seconds in ours.items():
        ratio = statistics.median(b / a for a, b in zip(seconds, theirs[row], strict=True))
        best = (statistics.median(seconds), statistics.median(theirs[row]))
        table.append({"row": row, "narke_s": best[0], "ray_s": best[1], "ratio": ratio})
        print(f"| {row:26} | {best[0] * 1e3:10,.3f} | {best[1] * 1e3:10,.3f} | {ratio:.0f}x |", flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(table, file, indent=1)
    return int(any(each["ratio"] < GOAL for each in table))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", action="store_true", help="measure the engine of this process")
    parser.add_argument("--only", default="", help="regular expression of rows (all)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of both engines (%(default)s)")
    parser.add_argument(
        "--peer-tasks", type=int, default=20_000, help="queued tasks that the peer ends (%(default)s)"
    )
    parser.add_argument("--json", default="", help="file for the table")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    if options.engine:
        run_engine(options.only, options.peer_tasks)
        return 0
    return compare(options)


if __name__ == "__main__":
    sys.exit(main())
