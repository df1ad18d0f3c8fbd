"""Rolling updates under load: how many requests fail, how long an update takes, when a new route is seen.

    python benchmarks/serve_updates.py                        100 updates of two replicas under 16 connections
    python benchmarks/serve_updates.py --replicas 100         then also: another route for an app of 100 replicas

Needs wrk. NARKE_BENCH_ENGINE=ray runs it on the Ray of this interpreter.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from typing import Any

import serve as rows

POST = 'wrk.method="POST"\nwrk.body="x"\n'


def app_of(serve: Any, answer: str, replicas: int) -> Any:
    """An application that answers so; another answer is another version, and the same one is the same."""

    @serve.deployment(num_replicas=replicas, version=answer, ray_actor_options={"num_cpus": 0})
    class Named:
        def __init__(self, answer: str) -> None:
            self.answer = answer

        async def __call__(self, request: Any) -> str:
            return self.answer

    return Named.bind(answer)


def ask(port: int, path: str = "/") -> str:
    """An answer's text."""
    with urllib.request.urlopen(f"http://{rows.HOST}:{port}{path}", timeout=60) as answer:
        return str(answer.read().decode())


def failed(report: str) -> int:
    """Requests that wrk saw fail: no answer, or another status than 2xx and 3xx."""
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", report)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", report)
    return (sum(map(int, errors.groups())) if errors else 0) + (int(bad[1]) if bad else 0)


def updates_under_load(serve: Any, port: int, count: int) -> None:
    """Update again and again while POST requests, which are never repeated, come in."""
    serve.run(app_of(serve, "v0", 2), name="bench", route_prefix="/")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(POST)
        script.flush()
        words = ["wrk", "-t1", "-c16", "-d3600s", "--timeout", "30s", "-s", script.name]
        load = subprocess.Popen([*words, f"http://{rows.HOST}:{port}/"], stdout=subprocess.PIPE, text=True)
        spent = [rows.timed(lambda n=n: update(serve, port, n)) for n in range(1, count + 1)]
        load.send_signal(2)  # wrk reports when it is interrupted
        report = load.communicate(timeout=60)[0]
    done = re.search(r"(\d+) requests in", report)
    assert done is not None, report
    print(f"{count} updates, {done[1]} requests, {failed(report)} failed")
    print(f"an update: median {statistics.median(spent) * 1e3:.0f} ms, slowest {max(spent) * 1e3:.0f} ms")


def update(serve: Any, port: int, number: int) -> None:
    """Another version; returns once it answers."""
    serve.run(app_of(serve, f"v{number}", 2), name="bench", route_prefix="/")
    while ask(port) != f"v{number}":
        time.sleep(0.001)


def new_route(serve: Any, port: int, replicas: int) -> None:
    """An app of many replicas moves to another route: from the order to the first answer there."""
    app = app_of(serve, "here", replicas)
    serve.run(app, name="bench", route_prefix="/")
    spent = []
    for number in range(10):
        path = f"/route{number}"

        def move(path: str = path) -> None:
            serve.run(app, name="bench", route_prefix=path)
            if ask(port, path) != "here":
                sys.exit(f"{path} is not served")

        spent.append(rows.timed(move) * 1e3)
    median, least = statistics.median(spent), min(spent)
    print(f"another route for {replicas} replicas: median {median:.0f} ms, least {least:.0f} ms")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="updates under load")
    parser.add_argument("--replicas", type=int, default=0, help="of the app that gets another route; 0: none")
    options = parser.parse_args()
    with rows.served() as (serve, port):
        if options.count:
            updates_under_load(serve, port, options.count)
        if options.replicas:
            new_route(serve, port, options.replicas)


if __name__ == "__main__":
    main()
