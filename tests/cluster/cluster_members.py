"""What tests of clusters share: tasks and actors that tell where they run, and waiting."""

from __future__ import annotations

import os
import pathlib
import time
import uuid

import numpy as np

import narke as ray

LARGE = 1_000_000  # float64 values: far above what travels inside a message


@ray.remote
def where() -> str:
    return ray.get_runtime_context().get_node_id()


@ray.remote
def slow_where() -> str:
    time.sleep(0.5)
    return ray.get_runtime_context().get_node_id()


@ray.remote
def meet(folder: str, count: int) -> str:
    """Where it runs; it ends once so many run at the same time."""
    pathlib.Path(folder, uuid.uuid4().hex).touch()
    until(lambda: len(os.listdir(folder)) >= count)
    return ray.get_runtime_context().get_node_id()


@ray.remote
def gated(folder: str) -> str:
    """Where it runs; it leaves a mark when it begins, and ends once there is a file "gate"."""
    pathlib.Path(folder, uuid.uuid4().hex).touch()
    until(lambda: os.path.exists(os.path.join(folder, "gate")))
    return ray.get_runtime_context().get_node_id()


@ray.remote
def ones(count: int) -> np.ndarray:
    return np.ones(count)


@ray.remote
def total(values: np.ndarray) -> tuple[float, str]:
    return float(values.sum()), ray.get_runtime_context().get_node_id()


@ray.remote(num_cpus=0)
class Member:
    def __init__(self) -> None:
        self.count = 0

    def node(self) -> str:
        return ray.get_runtime_context().get_node_id()

    def add(self) -> int:
        self.count += 1
        return self.count

    def hold(self, refs: list) -> float:
        return float(ray.get(refs[0]).sum())


def until(condition, seconds: float = 20.0):
    """What `condition` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
    return found


def living() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}
