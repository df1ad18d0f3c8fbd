"""Whether costs grow no faster than the work: each quantity at a size and at ten times that size.

    python benchmarks/scaling.py [--only RE] [--tasks N]

Ten times the work may take at most 12 times as long; a cost that is quadratic takes 100 times. Then one run of a
million queued tasks (--tasks 0 leaves it out) reports the driver's peak memory. The exit status is 1 when a ratio is
above the bound. Times are the best of several runs, since noise only ever adds. The small size is run ten times with
everything kept, and its time is a tenth of that: otherwise it would fit into a cache where the large one does not.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from measure import load_engine, peak_memory_mb, timed

ray, _ = load_engine()

FACTOR = 10
MAX_RATIO = 12.0
WAIT_TIMEOUT_S = 60


@ray.remote
def increment(number: int) -> int:
    return number + 1


@ray.remote
def how_many(box: list[Any]) -> int:
    return len(box)


@ray.remote(num_cpus=0)
class Replier:
    def reply(self) -> bytes:
        return b"ok"


@dataclass(frozen=True)
class Quantity:
    """Something of which there may be many. `use(n)` is timed, and returns what keeps its memory."""

    name: str
    size: int
    runs: int
    use: Callable[[int], object]

    def best_s(self, count: int, times: int) -> float:
        """Return the seconds of one use when it is made so many times and everything is kept."""
        return min(timed(lambda: [self.use(count) for _ in range(times)]) for _ in range(self.runs)) / times


def queued_tasks(count: int) -> object:
    refs = [increment.remote(i) for i in range(count)]
    answers = ray.get(refs)
    assert answers[0] == 1 and answers[-1] == count and len(answers) == count
    return refs


def refs_in_get(count: int) -> object:
    refs = [ray.put(i) for i in range(count)]
    assert ray.get(refs) == list(range(count))
    return refs


def refs_in_wait(count: int) -> object:
    refs = [increment.remote(i) for i in range(count)]
    ready, waiting = ray.wait(refs, num_returns=count, timeout=WAIT_TIMEOUT_S)
    assert len(ready) == count and not waiting
    return refs


def actors_created(count: int) -> object:
    actors = [Replier.remote() for _ in range(count)]
    assert ray.get([actor.reply.remote() for actor in actors]) == [b"ok"] * count
    for actor in actors:
        ray.kill(actor)
    return None


def nested_refs(count: int) -> object:
    refs = [ray.put(i) for i in range(count)]
    box = ray.put(refs)
    assert ray.get(how_many.remote(box)) == count
    assert ray.get(ray.get(box)[-1]) == count - 1
    return refs, box


QUANTITIES = [
    Quantity("queued tasks", 20_000, 3, queued_tasks),
    Quantity("refs in one get", 10_000, 5, refs_in_get),
    Quantity("refs in one wait", 1_000, 5, refs_in_wait),
    Quantity("actors created", 100, 3, actors_created),
    Quantity("refs in one object", 1_000, 5, nested_refs),
]


def check(quantity: Quantity) -> bool:
    """Measure at both sizes and print a line; returns whether the ratio is within the bound."""
    large = quantity.size * FACTOR
    quantity.use(large)  # starts workers, and takes the memory that later runs find in place
    small_s, large_s = quantity.best_s(quantity.size, FACTOR), quantity.best_s(large, 1)
    ratio = large_s / small_s
    verdict = "" if ratio <= MAX_RATIO else f"  above {MAX_RATIO:g}"
    print(
        f"{quantity.name:20}{quantity.size:>9,}{small_s:10.4f} s{large:>10,}{large_s:10.4f} s{ratio:8.2f}{verdict}",
        flush=True,
    )
    return ratio <= MAX_RATIO


def run_many(count: int) -> None:
    """Queue so many tasks at once and print the rate and the driver's peak memory."""
    before_mb = peak_memory_mb()
    spent_s = timed(lambda: queued_tasks(count))
    print(
        f"{count:,} queued tasks: {spent_s:.2f} s, {count / spent_s:,.0f} tasks/s; the driver's peak memory "
        f"{peak_memory_mb():,.0f} MB ({before_mb:,.0f} MB before)"
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="regular expression of quantities (all)")
    parser.add_argument(
        "--tasks", type=int, default=1_000_000, help="tasks of the last run; 0: none (%(default)s)"
    )
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    wanted = re.compile(options.only)
    print(f"{'':20}{'size':>9}{'':12}{'size':>10}{'':12}{'ratio':>8}")
    passed = [check(quantity) for quantity in QUANTITIES if wanted.search(quantity.name)]
    if options.tasks > 0:
        run_many(options.tasks)
    ray.shutdown()
    return int(not all(passed))


if __name__ == "__main__":
    sys.exit(main())
