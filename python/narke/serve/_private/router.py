"""Which replica a handle's call goes to: a `Router` per deployment and process; tables come from the controller."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from narke._private import async_actor, readiness, session
from narke.serve._private.common import CONTROLLER_NAME, NAMESPACE, DeploymentID
from narke.serve.exceptions import BackPressureError, DeploymentUnavailableError

__all__ = ["Pending", "RoutedReplica", "Router", "await_table", "is_told", "router_of", "routes", "watch"]

logger = logging.getLogger("ray.serve")
_NEVER = -1
_REPORT_EVERY_S = 0.5
_MOST_QUEUED = 1_000_000


class RoutedReplica:
    """A replica as this process sees it."""

    __slots__ = (
        "_calls",
        "actor",
        "actor_id",
        "facts",
        "id",
        "is_dead",
        "is_gone",
        "mine",
        "models",
        "most",
        "node",
        "stats",
    )

    def __init__(self, entry: dict[str, Any]) -> None:
        self.id: str = entry["id"]
        self.actor_id: bytes = entry["actor"]
        self.mine = 0
        self.is_gone = False
        self.is_dead = False
        self.actor = session.native().actor_ref_from_parts(self.actor_id, b"")
        self._calls: dict[tuple[str, int], Any] = {}
        self.update(entry)

    def update(self, entry: dict[str, Any]) -> None:
        """Take over what a new table says."""
        self.most: int = 0 if self.is_dead else entry["max"]
        self.models: list[str] = list(entry["models"])
        self.node: str = entry["node"]
        self.stats: dict[str, Any] = entry.get("stats") or {}
        self.facts: dict[str, Any] = entry.get("metadata") or {}

    def call(self, method: str, num_returns: int) -> Any:
        """The extension's call object for one of the replica's methods; -1 streams."""
        found = self._calls.get((method, num_returns))
        if found is None:
            options = {
                "name": f"ServeReplica.{method}",
                "num_returns": num_returns,
                "concurrency_group": "",
                "max_task_retries": 0,
                "retry_exceptions": False,
                "backpressure": 64 if num_returns == -1 else -1,
                "max_pending_calls": -1,
                "arity": (1, -1, True),
                "check": None,
            }
            found = session.native().ActorCall(self.actor, method, options)
            self._calls[method, num_returns] = found
        return found

    def lose(self) -> None:
        """A call has found it dead: nothing more goes there, although tables may name it for a moment yet."""
        self.is_dead = True
        self.most = 0

    def feed_call(self) -> Any:
        """The call object that hands on what a gRPC client streams."""
        return self.call("serve_grpc_feed", 1)


class Pending:
    """A call that waits for a replica, or has been sent to one."""

    __slots__ = (
        "args",
        "error",
        "is_ready",
        "kwargs",
        "meta",
        "method",
        "model_id",
        "num_returns",
        "on_ready",
        "on_sent",
        "prefers_node",
        "replica",
        "result",
    )

    def __init__(
        self,
        meta: tuple[Any, ...],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        num_returns: int,
        method: str = "serve_call",
    ) -> None:
        self.meta = meta
        self.args = args
        self.kwargs = kwargs
        self.num_returns = num_returns
        self.method = method  # of the replica's actor
        self.model_id: str = meta[5]
        self.prefers_node = False  # replicas of this process's node first, while they have room
        self.result: Any = None  # ObjectRef or generator, once sent
        self.replica: RoutedReplica | None = None
        self.error: BaseException | None = None
        self.on_sent: list[Callable[[], None]] = []
        self.is_ready = False  # the result is there, or for a stream: it has ended
        self.on_ready: list[Callable[[], None]] = []

    def settle(self) -> None:
        """Tell who waits that it is sent, or failed."""
        waiting, self.on_sent = self.on_sent, []
        for callback in waiting:
            callback()

    def tell_ready(self) -> None:
        """Tell who waits that the result is there."""
        waiting, self.on_ready = self.on_ready, []
        for callback in waiting:
            callback()


class Router:
    """Sends calls to the replicas of one deployment.

    Any thread may use it.
    """

    def __init__(self, deployment: DeploymentID) -> None:
        self.deployment = deployment
        self.replicas: dict[str, RoutedReplica] = {}
        self._queue: collections.deque[Pending] = collections.deque()
        self._lock = threading.RLock()
        self._most_queued = -1
        self._backpressure: tuple[int, float | None] = (503, None)
        self._is_known = False
        self._is_gone = False
        self.populated = threading.Event()
        self.session = session.current()
        self._custom: _Custom | None = None
        self._node = ""

    # ---- tables ----

    def update(self, entry: dict[str, Any] | None, is_complete: bool) -> None:
        """Take over what a table says of the deployment; None: nothing."""
        with self._lock:
            self._is_gone = entry is None and is_complete and self._is_known
            self._is_known = self._is_known or entry is not None
            if entry is None:
                entry = {
                    "replicas": [],
                    "max_queued": -1,
                    "status": 503,
                    "retry_after_s": None,
                    "failed": self._is_gone,
                }
            known, self.replicas = self.replicas, {}
            for each in entry["replicas"]:
                replica = known.pop(each["id"], None)
                if replica is None:
                    replica = RoutedReplica(each)
                else:
                    replica.update(each)
                self.replicas[replica.id] = replica
            for gone in known.values():
                gone.is_gone = True
            self._set_custom(entry.get("router"))
            self._most_queued = entry["max_queued"]
            self._backpressure = entry["status"], entry["retry_after_s"]
            failed = self._is_gone or entry.get("failed", False)
            dropped = list(self._queue) if failed else []
            if dropped:
                self._queue.clear()
        for pending in dropped:
            pending.error = DeploymentUnavailableError(self.deployment)
            pending.settle()
        if self.replicas:
            self.populated.set()
        self.pump()

    def _set_custom(self, pickled: bytes | None) -> None:
        if pickled is None:
            self._custom = None
            return
        if self._custom is None or self._custom.pickled != pickled:
            self._custom = _Custom(pickled, self.deployment)
        self._custom.update(self.replicas)

    def queued(self) -> int:
        """Calls that wait here."""
        return len(self._queue)

    # ---- calls ----

    def submit(self, pending: Pending) -> None:
        """Send the call, or have it wait for a replica.

        Raises:
            BackPressureError: as many as may wait do so already.
            DeploymentUnavailableError: the deployment is gone.
        """
        with self._lock:
            if self._is_gone:
                raise DeploymentUnavailableError(self.deployment)
            replica = None if self._queue else self._pick(pending)
            if replica is None:
                self._enqueue(pending)
                return
        self._send(pending, replica)

    def _enqueue(self, pending: Pending) -> None:
        limit = _MOST_QUEUED if self._most_queued < 0 else self._most_queued
        if len(self._queue) >= limit:
            status, retry = self._backpressure
            raise BackPressureError(len(self._queue), limit, status, retry)
        self._queue.append(pending)
        _watcher.report_soon()

    def _pick(self, pending: Pending | None) -> RoutedReplica | None:
        if self._custom is not None and pending is not None:
            return self._custom.pick(pending, self.replicas)
        model_id = pending.model_id if pending is not None else ""
        free = [r for r in self.replicas.values() if r.mine < r.most]
        if model_id and any(model_id in r.models for r in free):
            free = [r for r in free if model_id in r.models]
        if not free:
            return None
        if pending is not None and pending.prefers_node:
            free = [r for r in free if r.node == self._own_node()] or free
        if len(free) == 1:
            chosen = free[0]
        else:
            a, b = random.sample(free, 2)
            chosen = a if a.mine <= b.mine else b
        chosen.mine += 1
        if model_id and model_id not in chosen.models:
            chosen.models.append(model_id)
        return chosen

    def _own_node(self) -> str:
        if not self._node:
            import narke

            self._node = narke.get_runtime_context().get_node_id()
        return self._node

    def _send(self, pending: Pending, replica: RoutedReplica) -> None:
        pending.replica = replica
        try:
            call = replica.call(pending.method, pending.num_returns)
            result = call(pending.meta, *pending.args, **pending.kwargs)
        except BaseException as error:
            self._done(replica)
            if not pending.on_sent:
                raise
            pending.error = error
            return pending.settle()
        pending.result = result
        pending.args, pending.kwargs = (), {}
        native = session.native()
        ending = result._stream.task_ref if pending.num_returns == -1 else result

        def ended() -> None:
            pending.is_ready = True
            if pending.on_ready:
                pending.tell_ready()
            self._done(replica)

        readiness.call_when_ready(lambda token: native.on_ready(ending, token), ended)
        _watch_readiness()
        pending.settle()

    def reserve(self) -> RoutedReplica | None:
        """A replica with a place for one more call, which `_done` gives back; None: there is none now."""
        with self._lock:
            return self._pick(None)

    def _done(self, replica: RoutedReplica) -> None:
        replica.mine -= 1
        if self._queue:
            self.pump()

    def pump(self) -> None:
        """Send what waits, where there is room."""
        while True:
            with self._lock:
                if not self._queue:
                    return
                replica = self._pick(self._queue[0])
                if replica is None:
                    return
                pending = self._queue.popleft()
            self._send(pending, replica)

    def drop(self, pending: Pending) -> bool:
        """Take a call out of the queue; whether it was there."""
        with self._lock:
            if pending not in self._queue:
                return False
            self._queue.remove(pending)
            return True


class _Custom:
    """A router of the user's."""

    def __init__(self, pickled: bytes, deployment: DeploymentID) -> None:
        from narke import cloudpickle

        cls, kwargs = cloudpickle.loads(pickled)
        self.pickled = pickled
        self._deployment = deployment
        source = "REPLICA" if async_actor._runner is not None else "UNKNOWN"
        self._router = cls(deployment_id=deployment, handle_source=source)
        self._router.initialize_state(**kwargs)
        self._wrapped: dict[str, Any] = {}

    def update(self, replicas: dict[str, RoutedReplica]) -> None:
        from narke.serve._private.common import ReplicaID

        wrap = self._router.create_replica_wrapper
        self._wrapped = {
            name: self._wrapped.get(name) or wrap((replica, ReplicaID(name, self._deployment)))
            for name, replica in replicas.items()
        }
        self._router.update_replicas(list(self._wrapped.values()))

    def pick(self, pending: Pending, replicas: dict[str, RoutedReplica]) -> RoutedReplica | None:
        from narke.serve.request_router import choose

        free = [self._wrapped[name] for name, replica in replicas.items() if replica.mine < replica.most]
        chosen = choose(self._router, pending, free)
        if chosen is None:
            return None
        replica: RoutedReplica = chosen._replica
        replica.mine += 1
        return replica


def _watch_readiness() -> None:
    loop = asyncio._get_running_loop()
    runner = async_actor._runner
    if loop is not None:
        readiness.watch_from_loop(loop)
    elif runner is None:
        readiness.watch_from_thread()
    elif runner.loop not in readiness._loops:
        runner.loop.call_soon_threadsafe(readiness.watch_from_loop, runner.loop)


class _Watcher:
    """Listens to the controller for this process, and reports what waits in its routers."""

    def __init__(self) -> None:
        self._routers: dict[str, Router] = {}
        self._lock = threading.Lock()
        self._version = _NEVER
        self._changed = threading.Condition()
        self._table: dict[str, Any] | None = None
        self._running: Any = None
        self._reported: dict[str, int] = {}
        self._report_due = False
        self._known_controller: Any = None
        self._source = f"handle:{os.getpid()}:{random.getrandbits(32):x}"

    def router(self, deployment: DeploymentID) -> Router:
        with self._lock:
            found = self._routers.get(deployment.key)
            if found is None:
                found = self._routers[deployment.key] = Router(deployment)
                if self._table is not None:
                    found.update(_entry(self._table, deployment.key), True)
        self.ensure_running()
        return found

    def routes(self) -> list[dict[str, Any]]:
        """Routes of the last table: "prefix", "app", "deployment"."""
        return list(self._table["routes"]) if self._table is not None else []

    def is_told(self) -> bool:
        """Whether the controller has told anything yet."""
        return self._table is not None

    def ensure_running(self) -> None:
        """Listen, if that is not done yet."""
        if self._running is not None:
            return
        with self._lock:
            if self._running is not None:
                return
            if async_actor._runner is not None:
                loop = async_actor._runner.loop
                self._running = loop
                loop.call_soon_threadsafe(lambda: loop.create_task(self._listen_async()))
            else:
                thread = threading.Thread(target=self._listen, name="serve-router", daemon=True)
                self._running = thread
                thread.start()

    def _controller(self) -> Any:
        if self._known_controller is None:
            import narke

            self._known_controller = narke.get_actor(CONTROLLER_NAME, namespace=NAMESPACE)
        return self._known_controller

    def _take(self, version: int, table: dict[str, Any]) -> None:
        self._table = table
        for key, router in list(self._routers.items()):
            try:
                router.update(_entry(table, key), True)
            except Exception:  # a router class of the user's: the other deployments go on
                logger.exception("The router of %s could not take over the replicas.", key)
        with self._changed:
            self._version = version
            self._changed.notify_all()

    def await_version(self, version: int, timeout_s: float) -> bool:
        """Until a table of this version or a later one is taken over; whether it was within the time."""
        self.ensure_running()
        if asyncio._get_running_loop() is not None:
            return self._version >= version  # the loop that would hear of it must not be stopped
        with self._changed:
            return self._changed.wait_for(lambda: self._version >= version, timeout_s)

    def _listen(self) -> None:
        with session.Background():
            self._listen_to(session.current())

    def _listen_to(self, here: Any) -> None:
        import narke

        while session.current() is here and here is not None:
            try:
                ref = self._controller().serve_table.remote(self._version)
                while not narke.wait([ref], timeout=_REPORT_EVERY_S)[0]:
                    self._report()
                    if session.current() is not here:
                        return
                self._take(*narke.get(ref))
            except Exception:  # the controller is away: it comes back, or the session ends
                self._known_controller = None
                time.sleep(0.1)

    async def _listen_async(self) -> None:
        reporter = asyncio.get_running_loop().create_task(self._report_async())
        here = session.current()
        while session.current() is here:
            try:
                self._take(*await self._controller().serve_table.remote(self._version))
            except asyncio.CancelledError:
                reporter.cancel()
                raise
            except Exception:  # as above
                self._known_controller = None
                await asyncio.sleep(0.1)
        reporter.cancel()

    async def _report_async(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_EVERY_S)
            with contextlib.suppress(Exception):  # told again at the next turn
                self._report()

    def _queues(self) -> dict[str, int]:
        return {key: router.queued() for key, router in self._routers.items() if router.queued()}

    def _report(self) -> None:
        queues = self._queues()
        if queues or self._reported:
            self._controller().report_queues.remote(self._source, queues)
            self._reported = queues

    def report_soon(self) -> None:
        """Something waits: the controller may have to start a replica."""
        if self._report_due:
            return
        self._report_due = True

        def report() -> None:
            self._report_due = False
            with contextlib.suppress(Exception):  # the next regular report tells it
                self._report()

        def report_from_thread() -> None:
            with session.Background():
                report()

        loop = asyncio._get_running_loop()
        if loop is not None:
            loop.call_later(0.01, report)
        else:
            timer = threading.Timer(0.01, report_from_thread)
            timer.daemon = True
            timer.start()


def _entry(table: dict[str, Any], key: str) -> dict[str, Any] | None:
    return next((each for each in table["deployments"] if each["key"] == key), None)


_watcher = _Watcher()


def router_of(deployment: DeploymentID) -> Router:
    """This process's router for a deployment."""
    return _watcher.router(deployment)


def watch() -> None:
    """Listen to the controller although no handle was used yet."""
    _watcher.ensure_running()


def await_table(version: int, timeout_s: float) -> bool:
    """Until this process knows the controller's table of that version; whether it does, within the time."""
    return _watcher.await_version(version, timeout_s)


def routes() -> list[dict[str, Any]]:
    """Where applications are served, as far as this process knows: "prefix", "app", "deployment"."""
    return _watcher.routes()


def is_told() -> bool:
    """Whether this process knows the routes."""
    return _watcher.is_told()


def reset() -> None:
    """Forget everything: the session has ended."""
    global _watcher
    _watcher = _Watcher()


session.on_close(reset)
