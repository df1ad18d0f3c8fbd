"""The program under which faults happen: work of every kind whose results are checked.

Run as ``python chaos_load.py SESSION_DIR FOLDER``: works until FOLDER/stop is there, then prints one line of JSON.
What is run and how often is written to files of FOLDER by the tasks and actors themselves.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import traceback
from collections import Counter
from typing import Any

import numpy as np

import narke as ray

LARGE = 40_000  # float64 values: 320 kB, in the store
WAIT_S = 60.0
LOST_BY_CONTRACT = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ActorUnavailableError,
    ray.exceptions.OwnerDiedError,
)


def write_down(path: str, number: int) -> None:
    """Add a line to a file, whole or not at all."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{number}\n".encode())
    finally:
        os.close(file)


@ray.remote(max_retries=-1)
def square(number: int, pause_s: float) -> int:
    time.sleep(pause_s)
    return number * number


@ray.remote(max_retries=0)
def once(path: str, number: int) -> int:
    write_down(path, number)
    time.sleep(0.01)
    return number


@ray.remote(max_retries=-1)
def nested(number: int) -> int:
    return sum(ray.get([square.remote(number + i, 0.005) for i in range(3)]))


@ray.remote(max_retries=-1)
def filled(value: int) -> np.ndarray:
    return np.full(LARGE, value, dtype=np.float64)


@ray.remote(max_retries=-1)
def total(*arrays: np.ndarray) -> float:
    return float(sum(array[0] + array[-1] for array in arrays))


@ray.remote(max_retries=-1)
def items(count: int):
    for value in range(count):
        yield np.full(LARGE, value, dtype=np.float64)


@ray.remote(num_cpus=0.1, max_restarts=-1)
class Log:
    """Writes numbers down in the order they come."""

    def __init__(self, path: str) -> None:
        self.path = path

    def add(self, number: int) -> int:
        write_down(self.path, number)
        return number


class Load:
    """Rounds of work; what does not come out as it must is a violation.

    Args:
        folder: where tasks write down what they did.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.random = random.Random(7)
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self.number = 0
        self.acknowledged: dict[str, list[int]] = {"once": [], "strict": [], "sure": []}
        self.strict = Log.remote(self.path("strict"))
        self.sure = Log.options(max_task_retries=-1).remote(self.path("sure"))
        self.kept = [(value, ray.put(np.full(LARGE, value, dtype=np.float64))) for value in range(4)]

    def path(self, kind: str) -> str:
        return os.path.join(self.folder, kind)

    def expect(self, condition: bool, what: str) -> None:
        if not condition and len(self.violations) < 20:
            self.violations.append(what)

    def run(self) -> None:
        """Until the file `stop` is there, or whoever started this is gone."""
        starter = os.getppid()
        steps = [self.squares, self.once, self.strictly, self.surely, self.arrays, self.streams, self.nested]
        while not os.path.exists(self.path("stop")) and os.getppid() == starter:
            for step in steps:
                try:
                    step()
                except Exception:
                    self.expect(False, f"{step.__name__}: {traceback.format_exc(limit=3)}")
            self.counts["rounds"] += 1

    def numbers(self, count: int) -> list[int]:
        self.number += count
        return list(range(self.number - count, self.number))

    def squares(self) -> None:
        numbers = self.numbers(40)
        refs = [square.remote(n, self.random.random() * 0.01) for n in numbers]
        self.expect(
            sum(ray.get(refs, timeout=WAIT_S)) == sum(n * n for n in numbers), "a sum of squares is wrong"
        )
        self.counts["tasks"] += len(numbers)

    def nested(self) -> None:
        numbers = self.numbers(3)
        found = ray.get([nested.remote(n) for n in numbers], timeout=WAIT_S)
        self.expect(found == [sum((n + i) ** 2 for i in range(3)) for n in numbers], "a nested sum is wrong")
        self.counts["tasks"] += 4 * len(numbers)

    def _settle(self, kind: str, refs: dict[int, Any]) -> None:
        for number, ref in refs.items():
            try:
                self.expect(ray.get(ref, timeout=WAIT_S) == number, f"{kind} {number} has another's result")
                self.acknowledged[kind].append(number)
            except LOST_BY_CONTRACT:
                self.counts[f"{kind} lost by contract"] += 1

    def once(self) -> None:
        self._settle("once", {n: once.remote(self.path("once"), n) for n in self.numbers(10)})
        self.counts["tasks"] += 10

    def strictly(self) -> None:
        self._settle("strict", {n: self.strict.add.remote(n) for n in self.numbers(20)})
        self.counts["calls"] += 20

    def surely(self) -> None:
        refs = {n: self.sure.add.remote(n) for n in self.numbers(20)}
        before = len(self.acknowledged["sure"])
        self._settle("sure", refs)
        self.expect(len(self.acknowledged["sure"]) == before + 20, "a call with retries without end was lost")
        self.counts["calls"] += 20

    def arrays(self) -> None:
        values = self.numbers(6)
        made = [filled.options(scheduling_strategy="SPREAD").remote(v) for v in values]
        sums = [total.options(scheduling_strategy="SPREAD").remote(*made[i : i + 3]) for i in (0, 3)]
        self.expect(sum(ray.get(sums, timeout=WAIT_S)) == 2 * sum(values), "a sum over arrays is wrong")
        value, ref = self.random.choice(self.kept)
        there = total.options(scheduling_strategy="SPREAD").remote(ref)
        self.expect(ray.get(there, timeout=WAIT_S) == 2 * value, "an array that was put is wrong")
        self.counts["objects"] += len(made) + 1

    def streams(self) -> None:
        refs = list(items.options(scheduling_strategy="SPREAD").remote(4))
        firsts = [array[0] for array in ray.get(refs, timeout=WAIT_S)]
        self.expect(firsts == [0, 1, 2, 3], f"a generator gave {firsts}")
        self.counts["objects"] += len(refs)

    # ---- the end

    def check(self) -> None:
        """What was written down against what was answered."""
        written = {kind: self._read(kind) for kind in self.acknowledged}
        for kind, numbers in written.items():
            missing = set(self.acknowledged[kind]) - set(numbers)
            self.expect(not missing, f"{kind}: answered but never run: {sorted(missing)[:5]}")
        for kind in ("once", "strict"):
            twice = [n for n, times in Counter(written[kind]).items() if times > 1]
            self.expect(not twice, f"{kind}: run twice though it may not be: {twice[:5]}")
        self.expect(written["strict"] == sorted(written["strict"]), "strict: calls ran out of order")
        firsts = list(dict.fromkeys(written["sure"]))
        self.expect(firsts == sorted(firsts), "sure: calls ran out of order")
        self.counts["repeated calls"] = len(written["sure"]) - len(firsts)

    def _read(self, kind: str) -> list[int]:
        try:
            with open(self.path(kind), encoding="ascii") as file:
                return [int(line) for line in file]
        except FileNotFoundError:
            return []


def main() -> None:
    """Connect, work, and say what came of it."""
    ray.init(address=sys.argv[1], namespace="chaos", log_to_driver=False)
    load = Load(sys.argv[2])
    print("ready", flush=True)
    load.run()
    load.check()
    print(json.dumps({"counts": load.counts, "violations": load.violations}), flush=True)


if __name__ == "__main__":
    main()
