"""Serve under load: the applications that are served, and clients that ask all the time and check every answer."""

from __future__ import annotations

import asyncio
import collections
import http.client
import itertools
import os
import random
import threading
import time
from typing import Any

from chaos_load import write_down
from starlette.requests import Request
from starlette.responses import StreamingResponse

from narke import serve

__all__ = ["Clients", "Loss", "application", "chain"]

WAIT_S = 60.0
_CHUNKS = 20
_REPLICA = {"num_cpus": 0.05}


@serve.deployment(name="Echo", num_replicas=4, health_check_period_s=0.5, ray_actor_options=_REPLICA)
class Echo:
    """Gives back the number it is asked with; writes down the numbers of POST."""

    def __init__(self, version: str, folder: str) -> None:
        self._version = version
        self._path = os.path.join(folder, "posts")

    async def __call__(self, request: Request) -> Any:
        number = int(request.query_params["n"])
        if request.method == "POST":
            write_down(self._path, number)
        if "stream" in request.query_params:
            return StreamingResponse(self._lines(number))
        await asyncio.sleep(0.002)
        return f"{number} {self._version}"

    async def _lines(self, number: int) -> Any:
        for line in range(_CHUNKS):
            yield f"{number + line}\n"
            await asyncio.sleep(0.005)


@serve.deployment(num_replicas=2, health_check_period_s=0.5, ray_actor_options=_REPLICA)
class Double:
    async def __call__(self, number: int) -> int:
        await asyncio.sleep(0.002)
        return 2 * number


@serve.deployment(num_replicas=2, health_check_period_s=0.5, ray_actor_options=_REPLICA)
class Front:
    """Has another deployment do the work."""

    def __init__(self, double: Any) -> None:
        self._double = double

    async def __call__(self, request: Request) -> str:
        number = int(request.query_params["n"])
        return f"{await self._double.remote(number) - number} chained"


def application(version: str, folder: str, replicas: int = 4) -> Any:
    """The echo; another version is an update."""
    return Echo.options(version=version, num_replicas=replicas).bind(version, folder)


def chain() -> Any:
    """The application of two deployments."""
    return Front.bind(Double.bind())


class Loss:
    """A request that was not answered as it must be.

    Attributes:
        began, ended: when it was under way, by `time.monotonic`.
        kind: of the request.
        how: "status 500", "broken".
    """

    def __init__(self, began: float, kind: str, how: str) -> None:
        self.began = began
        self.ended = time.monotonic()
        self.kind = kind
        self.how = how


class Clients:
    """Threads that ask through the proxies of all nodes.

    A request whose proxy refuses the connection goes to another; one that breaks off is repeated if it is safe (GET),
    else it counts as lost.

    Attributes:
        ports: where proxies listen; may be replaced while the clients run.
        counts: requests by kind.
        losses: what was lost.
        wrong: what must never be.
    """

    KINDS = ("get", "get", "post", "post", "chain", "stream")

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self.counts: collections.Counter[str] = collections.Counter()
        self.losses: list[Loss] = []
        self.wrong: list[str] = []
        self.versions: set[str] = set()
        self.posted: list[int] = []
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(kind,)) for kind in self.KINDS]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, after what is under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, kind: str) -> None:
        client = _Client(self)
        while not self._stop.is_set():
            try:
                self._one(client, kind, next(self._numbers))
            except Exception as error:
                self.wrong.append(f"{kind}: {error!r}")
        client.close()

    def _one(self, client: _Client, kind: str, number: int) -> None:
        began = time.monotonic()
        path = f"/chain?n={number}" if kind == "chain" else f"/?n={number}" + "&stream=1" * (kind == "stream")
        self.counts[kind] += 1
        while True:
            answer = client.ask("POST" if kind == "post" else "GET", path)
            if answer is not None and answer[0] == 200:
                return self._check(kind, number, answer[1])
            self._count_loss(began, kind, answer)
            if kind != "get" or time.monotonic() - began > WAIT_S:
                break
        if kind == "get":
            self.wrong.append(f"a GET was not answered within {WAIT_S:.0f} s")

    def _count_loss(self, began: float, kind: str, answer: tuple[int, str] | None) -> None:
        how = "broken" if answer is None else f"status {answer[0]}"
        if kind != "get" or answer is not None:  # a GET that its client may repeat is not lost
            self.losses.append(Loss(began, kind, how))

    def _check(self, kind: str, number: int, text: str) -> None:
        if kind == "stream":
            wanted = "".join(f"{number + line}\n" for line in range(_CHUNKS))
            if text != wanted:
                self.wrong.append(f"a stream gave {text[:60]!r}...")
            return
        found, _, version = text.partition(" ")
        if found != str(number):
            self.wrong.append(f"{kind} {number} was answered {text[:60]!r}")
        if kind == "post":
            self.posted.append(number)
        if kind != "chain":
            self.versions.add(version)


class _Client:
    """One client: a connection at a time, to a proxy drawn anew where it ends."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str) -> tuple[int, str] | None:
        """Status and text; None when the connection broke with the request under way.

        Raises:
            TimeoutError: no proxy takes connections.
        """
        connection = self._connect()
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (http.client.HTTPException, OSError):
            self.close()
            return None

    def _connect(self) -> http.client.HTTPConnection:
        deadline = time.monotonic() + WAIT_S
        while self._connection is None:
            connection = http.client.HTTPConnection(
                "127.0.0.1", random.choice(self._clients.ports), timeout=WAIT_S
            )
            try:
                connection.connect()
                self._connection = connection
            except OSError:
                if time.monotonic() > deadline:
                    raise TimeoutError("no proxy took a connection") from None
                time.sleep(0.02)
        return self._connection

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
