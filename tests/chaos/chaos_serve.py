"""Serve's parts are hurt under load: ``./dev chaos --serve [--minutes N] [--seed N]``.

What counts as wrong: a GET that is not answered rightly; a request lost while nothing that carried it died; a POST
that ran twice, or was answered without having run; an application that is not whole again within a minute; processes
that stay.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import tempfile
import time
from collections import Counter, defaultdict
from typing import Any

from chaos_cluster import ChaosCluster, kill, until
from chaos_faults import Faults
from chaos_serve_load import Clients, Loss, application, chain
from chaos_summary import Summary, check_nothing_left

import narke as ray
from narke import serve

__all__ = ["FAULTS", "run"]

_PAUSE_S = 0.5  # between two faults
_WHOLE_S = 60.0
_NOTICED_S = 3.5  # a node that is silent is taken for dead after this
_MOST_IN_FLIGHT = len(Clients.KINDS)
FAULTS = (
    "kill_replica",
    "kill_proxy",
    "kill_controller",
    "kill_node",
    "kill_head",
    "stall_replica",
    "update",
    "scale",
    "drain_node",
)
# What carries requests may die in these.
_LOSING = {"kill_replica", "kill_proxy", "kill_node", "kill_head", "drain_node"}


class ServeChaos:
    """A cluster that serves, clients, and what may happen to it.

    Args:
        cluster: what is hurt.
        folder: where handlers write down what they did.
        source: decides whom the faults hit.
    """

    def __init__(self, cluster: ChaosCluster, folder: str, source: random.Random) -> None:
        self._cluster = cluster
        self._folder = folder
        self._random = source
        self._faults = Faults(cluster, source)
        self._version = 0
        serve.start(proxy_location="EveryNode", http_options={"port": 0})
        self._deploy(4)
        serve.run(chain(), name="chain", route_prefix="/chain")
        self.clients = Clients(self._ports())
        self.clients.start()

    def _deploy(self, replicas: int) -> None:
        serve.run(application(f"v{self._version}", self._folder, replicas), name="echo", route_prefix="/")

    def _details(self) -> dict[str, Any]:
        from narke.serve._private.client import connect

        return ray.get(connect().details.remote(), timeout=_WHOLE_S)

    def _ports(self) -> list[int]:
        ports = []
        for node in self._details()["proxies"]:
            with contextlib.suppress(ValueError, ray.exceptions.RayError):  # of a node that is gone
                proxy = ray.get_actor(f"SERVE_PROXY_ACTOR-{node}", namespace="serve")
                ports.append(ray.get(proxy.ready.remote(), timeout=10)["port"])
        return ports

    def _replicas(self) -> list[int]:
        deployments = [
            each for app in self._details()["applications"].values() for each in app["deployments"].values()
        ]
        return [r["pid"] for each in deployments for r in each["replicas"] if r["state"] == "RUNNING"]

    def is_whole(self) -> bool:
        """Whether all applications run as they shall, and every node has a proxy that listens."""
        with contextlib.suppress(ray.exceptions.RayError):
            status = serve.status()
            apps = status.applications.values()
            nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
            proxies = {node for node, state in status.proxies.items() if state == "HEALTHY"}
            states = [deployment.status for app in apps for deployment in app.deployments.values()]
            return len(apps) == 2 and set(states) == {"HEALTHY"} and proxies == nodes
        return False

    def renew_ports(self) -> None:
        """Tell the clients where proxies listen by now."""
        self.clients.ports = self._ports()

    # ---- faults ----

    def kill_replica(self) -> None:
        """A replica's process ends at once."""
        kill(self._random.choice(self._replicas()))

    def kill_proxy(self) -> None:
        """A node's proxy ends at once; its actor starts it again."""
        node = self._random.choice(sorted(self._details()["proxies"]))
        proxy = ray.get_actor(f"SERVE_PROXY_ACTOR-{node}", namespace="serve")
        kill(ray.get(proxy.ready.remote(), timeout=10)["pid"])

    def kill_controller(self) -> None:
        """The controller's process ends at once."""
        from narke.serve._private.client import connect

        kill(ray.get(connect().pid.remote(), timeout=10))

    def kill_node(self) -> None:
        """A node ends as by a crash; another takes its place."""
        self._faults.kill_node()

    def kill_head(self) -> None:
        """The head ends as by a crash, and is started again after a moment."""
        self._faults.kill_head()

    def drain_node(self) -> None:
        """A node is to go, with a deadline; another takes its place."""
        self._faults.drain_node()

    def stall_replica(self) -> None:
        """A replica does not run for a second."""
        pid = self._random.choice(self._replicas())
        if kill(pid, signal.SIGSTOP):
            time.sleep(1.0)
            kill(pid, signal.SIGCONT)

    def update(self) -> None:
        """Another version."""
        self._version += 1
        self._deploy(4)
        if not until(lambda: f"v{self._version}" in self.clients.versions, _WHOLE_S):
            self.clients.wrong.append(f"no answer came of version {self._version}")

    def scale(self) -> None:
        """Another number of replicas, and back."""
        self._deploy(self._random.choice((1, 2, 6)))
        self._deploy(4)


def _hurt(
    chaos: ServeChaos, seconds: float, summary: Summary, source: random.Random
) -> list[tuple[str, float, float]]:
    """Bring the faults about; what happened when."""
    waiting = list(FAULTS)
    source.shuffle(waiting)
    spans = []
    deadline = time.monotonic() + seconds
    while waiting or time.monotonic() < deadline:
        name = waiting.pop() if waiting else source.choice(FAULTS)
        print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
        began = time.monotonic()
        getattr(chaos, name)()
        if not until(chaos.is_whole, _WHOLE_S):
            summary.violations.append(f"after {name} the applications were not whole within {_WHOLE_S:.0f} s")
            break
        spans.append((name, began, time.monotonic() + _NOTICED_S * (name in _LOSING)))
        chaos.renew_ports()
        summary.faults[name] += 1
        time.sleep(_PAUSE_S * source.random())
    return spans


def _judge(clients: Clients, spans: list[tuple[str, float, float]], summary: Summary) -> None:
    """Losses that no fault explains, or more of them than could be under way."""
    explained: dict[int, list[Loss]] = defaultdict(list)
    unexplained: Counter[str] = Counter()
    for loss in clients.losses:
        found = [
            i for i, (_, began, ended) in enumerate(spans) if loss.began <= ended and loss.ended >= began
        ]
        losing = [i for i in found if spans[i][0] in _LOSING]
        if not losing or loss.kind == "get":
            during = ", ".join(spans[i][0] for i in found) or "nothing"
            unexplained[f"{loss.kind} lost ({loss.how}) during {during}"] += 1
        else:
            explained[losing[-1]].append(loss)
    summary.violations += [f"{what}: {count} times" for what, count in unexplained.items()]
    for i, losses in explained.items():
        if len(losses) > _MOST_IN_FLIGHT:
            name, began, _ = spans[i]
            listed = ", ".join(
                f"{each.kind} {each.how} at {each.ended - began:.2f} s" for each in losses[:12]
            )
            summary.violations.append(
                f"{len(losses)} requests lost by one {name}, {_MOST_IN_FLIGHT} were under way: {listed}"
            )
    summary.counts = {**clients.counts, "lost": len(clients.losses)}
    summary.violations += clients.wrong[:20]


def _check_posts(folder: str, clients: Clients, summary: Summary) -> None:
    with open(os.path.join(folder, "posts"), encoding="ascii") as file:
        ran = Counter(int(line) for line in file)
    twice = [number for number, times in ran.items() if times > 1]
    if twice:
        summary.violations.append(f"POST run twice: {twice[:5]}")
    if missing := [number for number in clients.posted if number not in ran]:
        summary.violations.append(f"POST answered but never run: {missing[:5]}")


def _run_on(cluster: ChaosCluster, ledger: str, seconds: float, summary: Summary) -> None:
    source = random.Random(summary.seed)
    chaos = ServeChaos(cluster, ledger, source)
    began = time.monotonic()
    try:
        spans = _hurt(chaos, seconds, summary, source)
    finally:
        chaos.clients.stop()
    summary.seconds = time.monotonic() - began
    _judge(chaos.clients, spans, summary)
    _check_posts(ledger, chaos.clients, summary)
    serve.shutdown()


def run(seconds: float, seed: int) -> Summary:
    """Hurt a cluster that serves, for so many seconds; every kind of fault happens at least once.

    Args:
        seconds: for how long faults are begun.
        seed: decides which faults, and whom they hit.
    """
    summary = Summary(seed)
    with (
        tempfile.TemporaryDirectory(prefix="nk-") as folder,
        tempfile.TemporaryDirectory(prefix="nl-") as ledger,
    ):
        cluster = ChaosCluster(folder)
        try:
            ray.init(address=cluster.home.session, log_to_driver=False)
            _run_on(cluster, ledger, seconds, summary)
        finally:
            ray.shutdown()
            cluster.stop()
        check_nothing_left(folder, summary)
    return summary
