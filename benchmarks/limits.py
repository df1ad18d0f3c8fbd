"""What this machine allows: the floor under the rows, in plain Python and numpy, without any engine.

    python benchmarks/limits.py [--json FILE]

socket_round_trips bounds task_sync and actor_sync, copy_warm bounds put_800mb, fork bounds actor_creation_20.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import pickle
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

ROUND_TRIPS = 20_000
FORKS = 100
COPY_BYTES = 800 << 20


def _echo(link: socket.socket) -> None:
    """Answer pickled messages until the other side closes; ends the process."""
    while message := link.recv(4096):
        link.send(pickle.dumps(pickle.loads(message)))
    os._exit(0)


def socket_round_trips() -> float:
    """Pickled replies per second between two processes over a Unix socket."""
    near, far = socket.socketpair()
    child = os.fork()
    if child == 0:
        near.close()
        _echo(far)
    far.close()
    start = time.perf_counter()
    for number in range(ROUND_TRIPS):
        near.send(pickle.dumps(number))
        assert pickle.loads(near.recv(4096)) == number
    spent = time.perf_counter() - start
    near.close()
    os.waitpid(child, 0)
    return ROUND_TRIPS / spent


def copy_warm() -> float:
    """GB per second of one thread copying into shared memory whose pages are present."""
    source = np.ones(COPY_BYTES, np.uint8)
    descriptor = os.memfd_create("limits")
    os.ftruncate(descriptor, COPY_BYTES)
    target = np.frombuffer(mmap.mmap(descriptor, COPY_BYTES), np.uint8)
    os.close(descriptor)
    np.copyto(target, source)
    start = time.perf_counter()
    np.copyto(target, source)
    return COPY_BYTES / (time.perf_counter() - start) / 1e9


def fork() -> float:
    """Forks of this process per second, each awaited."""
    start = time.perf_counter()
    for _ in range(FORKS):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
    return FORKS / (time.perf_counter() - start)


LIMITS: dict[str, tuple[Callable[[], float], str, int]] = {
    "socket_round_trips": (socket_round_trips, "ops/s", 5),
    "copy_warm": (copy_warm, "GB/s", 3),
    "fork": (fork, "ops/s", 3),
}


def measure() -> dict[str, dict[str, Any]]:
    """Return {name: {value, unit, about}}, medians of several runs each."""
    return {
        name: {
            "value": statistics.median(function() for _ in range(runs)),
            "unit": unit,
            "about": (function.__doc__ or "").rstrip("."),
        }
        for name, (function, unit, runs) in LIMITS.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    found = measure()
    for name, limit in found.items():
        print(f"{name:22}{limit['value']:16,.3f} {limit['unit']}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
