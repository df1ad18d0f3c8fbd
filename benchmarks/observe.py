"""What observing costs: the events of tasks, questions about a million of them, the gateway, a job's start.

    python benchmarks/observe.py [--tasks N] [--actors N] [--rounds N] [--only RE]

- `task_events`: processor time a task of driver, workers and node, and time a task on the clock, with and without
  recording what becomes of tasks, in short rounds that take turns: medians of what a round differs by. Figures of a
  round scatter by a tenth: some hundred rounds give one per cent. The clock's are mostly noise on a shared machine.
- `history`: a million finished tasks; how long the node's REST interface takes to list, filter and count them, and what
  memory node and gateway took for it.
- `actors`: a page of so many actors. They wait for a resource that nobody has: rows as others, without a process each.
- `gateway`: resident memory of the gateway that has served all that.
- `job`: from submitting a job to the first line that it prints.
- `status`: what `narke status` takes, Python's own start included.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import ROOT, descendants, load_engine, timed

SWITCH = "RAY_task_events_report_interval_ms"  # 0 turns recording off
ROUND = """
import os, sys, time
sys.path[:0] = {paths!r}
from measure import descendants
import narke

def spent():
    # Nanoseconds on a processor: of this process, of the node, of all others below this one (workers).
    totals = [0, 0, 0]
    for pid in [os.getpid(), *descendants(os.getpid())]:
        kind = 0 if pid == os.getpid() else 1 if "narke-node" in open(f"/proc/{{pid}}/cmdline").read() else 2
        for task in os.listdir(f"/proc/{{pid}}/task"):
            try:
                totals[kind] += int(open(f"/proc/{{pid}}/task/{{task}}/schedstat").read().split()[0])
            except OSError:
                pass
    return totals

narke.init(num_cpus=2, include_dashboard=False)

@narke.remote
def nothing():
    pass

narke.get([nothing.remote() for _ in range(3000)])
time.sleep(0.3)
for line in sys.stdin:
    before, start = spent(), time.perf_counter_ns()
    for _ in range(60):
        narke.get([nothing.remote() for _ in range(1000)])
    wall = time.perf_counter_ns() - start
    time.sleep(0.15)  # what is recorded has been sent and taken in
    used = [after - was for after, was in zip(spent(), before)]
    print(sum(used), wall, *used, flush=True)
"""


def task_events(rounds: int) -> None:
    paths = [str(ROOT / "benchmarks"), str(ROOT / "python")]
    sides = {}
    for name, value in (("with", "10000"), ("without", "0")):
        sides[name] = subprocess.Popen(
            [sys.executable, "-c", ROUND.format(paths=paths)],
            env={**os.environ, SWITCH: value},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    figures: dict[str, list[list[int]]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name in sorted(sides, reverse=turn % 2 == 1):
            program = sides[name]
            assert program.stdin and program.stdout
            program.stdin.write("go\n")
            program.stdin.flush()
            figures[name].append([int(word) for word in program.stdout.readline().split()])
    for program in sides.values():
        program.communicate(timeout=60)
    tasks = 60 * 1000
    kinds = ("on processors", "on the clock", "of the driver", "of the node", "of the workers")
    whole = statistics.median(each[0] for each in figures["without"])
    for at, what in enumerate(kinds):
        base = whole if at != 1 else statistics.median(each[1] for each in figures["without"])
        more = [a[at] - b[at] for a, b in zip(figures["with"], figures["without"], strict=True)]
        error = statistics.stdev(more) / len(more) ** 0.5 if len(more) > 1 else 0.0
        without = statistics.median(each[at] for each in figures["without"])
        print(
            f"task_events: {what} {without / tasks:.0f} ns a task, with recording "
            f"{100 * statistics.median(more) / base:+.1f} % of all, error {100 * error / base:.1f} %"
        )


class Cluster:
    """A cluster of this program with its gateway, asked over HTTP."""

    def __init__(self) -> None:
        self.narke, _ = load_engine()
        context = self.narke.init(num_cpus=2, include_dashboard=True, log_to_driver=False)
        session = Path(context.address_info["session_dir"])
        info = json.loads((session / "info.json").read_text())
        url = info["dashboard_url"].rstrip("/")
        self.url = url if "://" in url else f"http://{url}"
        self.token = (session / "token").read_text().strip()

    def ask(self, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read().decode()
        return json.loads(text) if text.startswith(("{", "[")) else text

    def best(self, path: str) -> float:
        """The shortest of five times that an answer takes, in milliseconds."""
        return 1000 * min(timed(lambda: self.ask(path)) for _ in range(5))

    def resident_mb(self, name: str) -> float:
        for pid in descendants(os.getpid()):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
            if command.endswith(name):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                return pages * os.sysconf("SC_PAGESIZE") / 1e6
        raise RuntimeError(f"no process {name} runs below this one")


def history(cluster: Cluster, tasks: int) -> None:
    narke = cluster.narke

    @narke.remote
    def square(number: int) -> int:
        return number * number

    @narke.remote
    def other() -> None:
        pass

    cluster.ask("/api/version")  # the gateway starts with the first question
    node_before, gateway_before = cluster.resident_mb("narke-node"), cluster.resident_mb("narke-gateway")
    for start in range(0, tasks, 10_000):
        function = other if start % 100_000 == 0 else square
        narke.get([function.remote(*([start] if function is square else [])) for _ in range(10_000)])
    deadline = time.monotonic() + 30
    while cluster.ask("/api/v0/tasks?limit=1")["data"]["result"]["total"] < min(tasks, 10**6) * 0.99:
        assert time.monotonic() < deadline, "the node was not told of all tasks"
        time.sleep(0.2)
    filters = "filter_keys=name&filter_predicates=%3D&filter_values=other"
    for name, path in (
        ("list", "/api/v0/tasks?limit=100&detail=true"),
        ("filter", f"/api/v0/tasks?limit=100&detail=true&{filters}"),
        ("page 1,000", "/api/v0/tasks?limit=50&offset=50000&detail=true"),
        ("summarise", "/api/v0/tasks/summarize"),
    ):
        print(f"history: {name} of {tasks:,} tasks {cluster.best(path):.0f} ms")
    print(
        f"history: node {cluster.resident_mb('narke-node') - node_before:+.0f} MB, "
        f"gateway {cluster.resident_mb('narke-gateway') - gateway_before:+.1f} MB"
    )


def actors(cluster: Cluster, count: int) -> None:
    narke = cluster.narke

    @narke.remote(resources={"nowhere": 1})
    class Waiting:
        pass

    held = [Waiting.remote() for _ in range(count)]
    deadline = time.monotonic() + 120
    while cluster.ask("/api/v0/actors?limit=1")["data"]["result"]["total"] < count:
        assert time.monotonic() < deadline, "the node does not know of all actors"
        time.sleep(0.2)
    for name, path in (
        ("first page", "/api/v0/actors?limit=50&detail=true"),
        ("last page", f"/api/v0/actors?limit=50&offset={count - 50}&detail=true"),
        ("sorted", "/api/v0/actors?limit=50&detail=true&sort_by=class_name&descending=true"),
        ("searched", "/api/v0/actors?limit=50&detail=true&search=waiting"),
        ("counted", "/api/v0/actors/summarize"),
    ):
        print(f"actors: {name} of {len(held):,} {cluster.best(path):.0f} ms")


def job(cluster: Cluster) -> None:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        answer = cluster.ask("/api/jobs/", {"entrypoint": f"{sys.executable} -S -c 'print(1)'"})
        path = f"/api/jobs/{answer['submission_id']}/logs"
        while "1" not in cluster.ask(path)["logs"]:
            time.sleep(0.002)
        times.append(time.perf_counter() - start)
    print(
        f"job: {1000 * statistics.median(times):.0f} ms from submission to the first line of a Python script"
    )


def status(cluster: Cluster) -> None:
    session = cluster.narke._private.session.connected().info["session_dir"]
    program = "import sys; from narke._cli import main; sys.exit(main(sys.argv[1:]))"
    walls, spent = [], []
    for _ in range(15):
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", program, "status", f"--address={session}"],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
        )
        _, code, usage = os.wait4(process.pid, 0)
        assert code == 0, "narke status failed"
        process.returncode = 0
        walls.append(time.perf_counter() - start)
        spent.append(usage.ru_utime + usage.ru_stime)
    print(
        f"status: {1000 * statistics.median(walls):.0f} ms, {1000 * min(spent):.0f} ms of them on a processor"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--actors", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", default="", help="a regular expression of what to measure")
    options = parser.parse_args()
    if re.search(options.only, "task_events"):
        task_events(options.rounds)
    cluster = Cluster()
    steps: list[tuple[str, Callable[[], None]]] = [
        ("status", lambda: status(cluster)),
        ("job", lambda: job(cluster)),
        ("history", lambda: history(cluster, options.tasks)),
        ("actors", lambda: actors(cluster, options.actors)),
        ("gateway", lambda: print(f"gateway: {cluster.resident_mb('narke-gateway'):.1f} MB resident")),
    ]
    for name, step in steps:
        if re.search(options.only, name):
            step()
    cluster.narke.shutdown()


if __name__ == "__main__":
    main()
