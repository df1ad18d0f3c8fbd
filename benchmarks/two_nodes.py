"""Calls to another node: the rows on Narke and on the real Ray in turns, each with its own `cluster_utils.Cluster`.

    .venv/bin/python benchmarks/two_nodes.py [--peer PYTHON] [--rounds N] [--seconds S]

Two nodes of this machine: a head that runs nothing and a node with 2 CPUs, where every task and actor runs. PYTHON is
an interpreter that has Ray; $NARKE_PEER_PYTHON by default, and without either only Narke is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import median_rate

ROOT = Path(__file__).resolve().parent.parent
ROWS = ("remote_task_sync", "remote_task_async_1k", "remote_actor_sync", "remote_actor_async_1k")


def measure(engine: str, seconds: float) -> dict[str, float]:
    """All rows on the engine of this interpreter."""
    if engine == "ray":
        import ray
        from ray.cluster_utils import Cluster
    else:
        import narke as ray
        from narke.cluster_utils import Cluster
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address, log_to_driver=False)

    @ray.remote
    def task() -> int:
        return 1

    @ray.remote
    class Actor:
        def call(self) -> int:
            return 1

    actor = Actor.remote()
    head = ray.get_runtime_context().get_node_id()

    @ray.remote
    def where() -> str:
        return ray.get_runtime_context().get_node_id()

    assert ray.get(where.remote()) != head

    def several(call: Callable[[], Any], count: int, together: bool) -> Callable[[], None]:
        def run() -> None:
            refs = (call() for _ in range(count))
            values = ray.get(list(refs)) if together else [ray.get(ref) for ref in refs]
            assert sum(values) == count

        return run

    calls = (task.remote, task.remote, actor.call.remote, actor.call.remote)
    rows = {}
    for name, call in zip(ROWS, calls, strict=True):
        count, together = (1000, True) if name.endswith("1k") else (100, False)
        rows[name] = median_rate(several(call, count, together), count, seconds)
    ray.shutdown()
    cluster.shutdown()
    return rows


def run_on(engine: str, python: str, seconds: float) -> dict[str, float]:
    """All rows in a process of the engine's interpreter."""
    env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    if engine == "narke":
        env["PYTHONPATH"] = str(ROOT / "python")
    command = [python, __file__, "--engine", engine, "--seconds", str(seconds)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode != 0:
        sys.exit(f"two_nodes.py on {engine} ended with status {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", default=os.environ.get("NARKE_PEER_PYTHON"), help="an interpreter with Ray")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row")
    parser.add_argument("--engine", choices=("narke", "ray"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        print(json.dumps(measure(options.engine, options.seconds)))
        return
    ours, theirs = [], []
    for _ in range(options.rounds):
        ours.append(run_on("narke", sys.executable, options.seconds))
        if options.peer:
            theirs.append(run_on("ray", options.peer, options.seconds))
    print("| row | Narke, ops/s | Ray, ops/s | ratio |\n|---|---:|---:|---:|")
    for row in ROWS:
        mine = statistics.median(each[row] for each in ours)
        if not theirs:
            print(f"| {row} | {mine:,.0f} | - | - |")
            continue
        peer = statistics.median(each[row] for each in theirs)
        ratio = statistics.median(a[row] / b[row] for a, b in zip(ours, theirs, strict=True))
        print(f"| {row} | {mine:,.0f} | {peer:,.0f} | {ratio:.0f}x |")


if __name__ == "__main__":
    main()
