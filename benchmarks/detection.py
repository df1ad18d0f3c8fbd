"""How soon a death is known: from the moment it happens to the error in a driver that waits for a call's result.

    .venv/bin/python benchmarks/detection.py [--rounds N]

A head that runs nothing and a node where an actor runs. A worker is killed; a node's daemon is killed; a node's daemon
is stopped, as a host that hangs or a network that is cut, which only silence tells.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import time
from collections.abc import Callable

import narke
from narke.cluster_utils import Cluster

WAIT_S = 60
CASES = ("worker killed", "node killed", "node silent")


@narke.remote
class Sleeper:
    """An actor whose call does not end by itself."""

    def pid(self) -> int:
        """Its process."""
        return os.getpid()

    def sleep(self) -> None:
        """Longer than anybody waits."""
        time.sleep(10 * WAIT_S)


def measure(case: str) -> float:
    """Seconds from the death to the error."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    node = cluster.add_node(num_cpus=1)
    narke.init(address=cluster.address, log_to_driver=False)
    actor = Sleeper.remote()
    worker = narke.get(actor.pid.remote(), timeout=WAIT_S)
    daemon = node.process.process.pid
    waiting = actor.sleep.remote()
    deaths: dict[str, Callable[[], None]] = {
        "worker killed": lambda: os.kill(worker, signal.SIGKILL),
        "node killed": lambda: os.kill(daemon, signal.SIGKILL),
        "node silent": lambda: [os.kill(pid, signal.SIGSTOP) for pid in (daemon, worker)] and None,
    }
    began = time.perf_counter()
    deaths[case]()
    try:
        narke.get(waiting, timeout=WAIT_S)
    except narke.exceptions.RayActorError:
        return time.perf_counter() - began
    finally:
        for pid in (daemon, worker) if case == "node silent" else ():
            os.kill(pid, signal.SIGCONT)
        narke.shutdown()
        cluster.shutdown()
    raise RuntimeError(f"{case}: the call ended without an error")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print("| death | median, s | greatest, s |\n|---|---:|---:|")
    for case in CASES:
        found = [measure(case) for _ in range(options.rounds)]
        print(f"| {case} | {statistics.median(found):.3f} | {max(found):.3f} |")


if __name__ == "__main__":
    main()
