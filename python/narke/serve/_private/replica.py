"""The actor that is one replica of a deployment."""

from __future__ import annotations

import asyncio
import collections
import inspect
import logging
import os
import pickle
import sys
import time
import traceback
from typing import Any

from narke._private import async_actor
from narke.serve import context as _context
from narke.serve._private import grpc_replica, tracing, wire
from narke.serve._private.common import DeploymentID, ReplicaID
from narke.serve._private.http import HttpCall
from narke.serve._private.servable import Servable

__all__ = ["Replica"]

logger = logging.getLogger("ray.serve")


class Replica:
    """Answers the requests of one replica.

    Requests of proxies beyond `max_ongoing_requests` are refused, so that the proxy asks another; those of handles wait
    here.
    """

    def __init__(self, deployment_key: str, unique_id: str, payload: bytes, config: dict[str, Any]) -> None:
        self._id = ReplicaID(unique_id, DeploymentID.from_key(deployment_key))
        self._payload = payload
        self._config = config
        self._most = config["max_ongoing_requests"]
        self._ongoing = 0
        self._total = 0
        self._errors = 0
        self._leaving = False
        self._waiting: collections.deque[Any] = collections.deque()
        self._http: dict[str, _HttpRun] = {}
        self._grpc_inputs: dict[str, Any] = {}
        self._servable: Servable | None = None
        self._handler: Any = None
        self.access: Any = None

    # ---- life ----

    async def initialize(self) -> dict[str, Any]:
        """Build the user's object.

        Returns:
            facts for the controller: pid, node_id, node_ip, worker_id, log_file_path.

        Raises:
            RuntimeError: with the traceback of what the user's code raised.
        """
        from narke.serve._private.logs import AccessLog, configure

        log_path = configure(self._id, self._config.get("logging_config"))
        self.access = AccessLog(self._config.get("logging_config"))
        try:
            tracing.begin(self._config.get("tracing"), f"replica_{self._id.unique_id}_tracing.json")
            await self._build()
        except Exception:
            raise RuntimeError(traceback.format_exc()) from None
        import narke

        here = narke.get_runtime_context()
        return {
            "pid": os.getpid(),
            "node_id": here.get_node_id(),
            "node_ip": narke.util.get_node_ip_address(),
            "worker_id": here.get_worker_id(),
            "log_file_path": log_path,
            "max_ongoing_requests": self._most,
            "metadata": await self._servable.told_by("record_replica_metadata") if self._servable else {},
        }

    async def _build(self) -> None:
        for entry in reversed(self._config.get("sys_path") or ()):
            if entry not in sys.path:
                sys.path.insert(0, entry)
        target, args, kwargs = pickle.loads(self._payload)
        self._payload = b""
        self._servable = Servable(target, args, kwargs, self._most)
        self._set_context(target)
        await self._servable.build()
        self._set_context(self._servable.instance)
        await self._servable.reconfigure(self._config.get("user_config"))
        self._handler = (
            self._servable.http_handler()
            if callable(self._servable.instance) or self._servable._asgi
            else None
        )
        if self._handler is not None and self._config.get("is_ingress"):
            self._servable.expect_http()

    def _set_context(self, servable: Any) -> None:
        from narke.serve.schema import ReplicaRank

        rank = ReplicaRank(
            rank=self._config.get("rank", 0), node_rank=0, local_rank=self._config.get("rank", 0)
        )
        gang = self._config.get("gang")
        _context.set_replica_context(
            _context.ReplicaContext(
                replica_id=self._id,
                servable_object=servable,
                _deployment_config=self._config.get("deployment_config"),
                rank=rank,
                world_size=self._config.get("world_size", 1),
                gang_context=_context.GangContext(**gang) if gang else None,
                code_version=self._config.get("version"),
            )
        )

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Take over a new config whose code is the same; calls the user's ``reconfigure`` if user_config changed."""
        assert self._servable is not None
        changed = config.get("user_config") != self._config.get("user_config")
        self._config = config
        self._most = config["max_ongoing_requests"]
        if changed:
            try:
                await self._servable.reconfigure(config.get("user_config"))
            except Exception:
                raise RuntimeError(traceback.format_exc()) from None
        self._set_context(self._servable.instance)
        self._start_waiting()

    async def check_health(self) -> dict[str, Any]:
        """Raise if the replica is ill; else its numbers."""
        assert self._servable is not None
        await self._servable.check_health()
        return await self.stats()

    async def stats(self) -> dict[str, Any]:
        """Requests that run and wait here, counts since the start, and the multiplexed models held."""
        from narke.serve._private.multiplexing import loaded_models

        return {
            "ongoing": self._ongoing,
            "waiting": len(self._waiting),
            "total": self._total,
            "errors": self._errors,
            "models": loaded_models(),
            "time": time.time(),
            "routing_stats": await self._servable.told_by("record_routing_stats") if self._servable else {},
        }

    async def serve_until_end(self) -> None:
        """Never returns: whoever waits for it is told when this process ends."""
        await asyncio.get_running_loop().create_future()

    async def drain(self, wait_loop_s: float, timeout_s: float) -> None:
        """Take no more requests, wait for those under way, run the destructor.

        Args:
            wait_loop_s: how long requests may still come from senders that do not know yet.
            timeout_s: how long requests under way may take.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        quiet_until = loop.time() + min(wait_loop_s, 0.25)
        while loop.time() < deadline:
            busy = self._ongoing > 0 or self._waiting
            if not busy and loop.time() >= quiet_until:
                break
            await asyncio.sleep(0.01)
        self._leaving = True
        self.access.write()
        if self._servable is not None:
            await self._servable.destroy()

    # ---- requests of proxies ----

    def _load(self) -> int:
        return self._ongoing + len(self._waiting)

    @async_actor.direct
    def serve_http(self, call: Any) -> Any:
        """An HTTP request or a WebSocket."""
        http = HttpCall(call, call.args[0], self._load)
        if self._leaving or self._ongoing >= self._most:
            http.turn_away(wire.LEAVING if self._leaving else wire.BUSY)
            return None
        self._ongoing += 1
        run = _HttpRun(self, call, http)
        self._http[http.request_id] = run
        run.task = asyncio.get_running_loop().create_task(run.run())
        return run

    @async_actor.direct
    def serve_feed(self, call: Any) -> None:
        """A part of a request's body, or a message of its WebSocket."""
        request_id, kind, data, code = call.args[0]
        run = self._http.get(request_id)
        if run is None:
            call.finish(None)
        else:
            run.http.feed(kind, data, code, call)

    # ---- requests of handles, and gRPC ----

    @async_actor.direct
    def serve_call(self, call: Any) -> Any:
        """A call through a handle: its metadata, then the arguments."""
        return self._accept(_CallRun(self, call))

    @async_actor.direct
    def serve_grpc(self, call: Any) -> Any:
        """A gRPC call: its metadata, then what `grpc_replica.run` takes."""
        return self._accept(_GrpcRun(self, call))

    @async_actor.direct
    def serve_grpc_feed(self, call: Any) -> None:
        """A message of a client that streams: (request id, message)."""
        request_id, message = call.args[0]
        inputs = self._grpc_inputs.get(request_id)
        if inputs is None:
            call.finish(None)
        else:
            inputs.put(message, call)

    def span(self, method: str, parent: str, facts: dict[str, Any]) -> Any:
        """A span around what this replica does for a request; see `narke.serve._private.tracing`."""
        deployment = self._id.deployment_id
        named = {"deployment": deployment.name, "app": deployment.app_name, "replica_id": self._id.unique_id}
        name = f"replica_handle_request {deployment.name} {method}"
        return tracing.span(name, parent, {**named, "call_method": method, **facts})

    def _accept(self, run: _CallRun) -> _CallRun:
        if self._ongoing >= self._most:
            self._waiting.append(run)
        else:
            self._start(run)
        return run

    def _start(self, run: _CallRun) -> None:
        self._ongoing += 1
        run.task = asyncio.get_running_loop().create_task(run.run())

    def ended(self, failed: bool) -> None:
        """A request has ended."""
        self._ongoing -= 1
        self._total += 1
        self._errors += failed
        if self._waiting:
            self._start_waiting()

    def _start_waiting(self) -> None:
        while self._waiting and self._ongoing < self._most:
            self._start(self._waiting.popleft())


class _HttpRun:
    """One HTTP request being answered."""

    __slots__ = ("call", "http", "replica", "task")

    def __init__(self, replica: Replica, call: Any, http: HttpCall) -> None:
        self.replica = replica
        self.call = call
        self.http = http
        self.task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        if self.http.is_websocket:  # its handler ends by itself, as under any ASGI server
            self.http.hang_up()
        elif self.task is not None:
            self.task.cancel()

    async def run(self) -> None:
        http, replica = self.http, self.replica
        began = time.perf_counter()
        failed = False
        try:
            _context.request_context.set(
                _context.RequestContext(http.request_id, http.app_name, http.route, http.model_id)
            )
            self.call.enter()
            if http.is_streamed:
                http.accept_parts()
            if replica._handler is None:
                http.fail(500, "Internal Server Error")
                raise TypeError(
                    f"{replica._id.deployment_id} cannot answer HTTP requests: it has no __call__"
                )
            if tracing.is_on():
                await self._traced()
            else:
                await replica._handler(http)
            http.finish()
        except asyncio.CancelledError:
            _context.request_context.get().cancel_waiting()
            http.fail(499, "The request was cancelled.")
        except Exception as error:
            failed = True
            _answer_exception(http, error)
        except BaseException as error:  # such as SystemExit: the process is to end
            http.fail(500, "Internal Server Error")
            self.call.fail(error)
        finally:
            del replica._http[http.request_id]
            async_actor.forget_direct(self.call.task_id)
            replica.ended(failed)
            replica.access.add(http.request_id, http.method, http.path, http.status, began)

    async def _traced(self) -> None:
        http = self.http
        facts = {"request_id": http.request_id, "route": http.route, "http.method": http.method}
        with self.replica.span("__call__", http.trace_parent(), facts) as span:
            await self.replica._handler(http)
            span.set_attribute("http.status_code", http.status)


def _answer_exception(http: HttpCall, error: Exception) -> None:
    from narke.serve.exceptions import BackPressureError, DeploymentUnavailableError

    cause = getattr(error, "cause", None) or error
    logger.exception("Request %s failed.", http.request_id)
    if isinstance(cause, BackPressureError):
        return http.fail(cause.status_code, cause.message)
    if isinstance(cause, DeploymentUnavailableError):
        return http.fail(503, cause.message)
    http.fail(500, "Internal Server Error")


class _CallRun:
    """One call of a handle being answered."""

    __slots__ = ("call", "replica", "task")

    def __init__(self, replica: Replica, call: Any) -> None:
        self.replica = replica
        self.call = call
        self.task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()
        elif self in self.replica._waiting:
            self.replica._waiting.remove(self)
            self.call.fail(KeyboardInterrupt())

    async def run(self) -> None:
        call, replica = self.call, self.replica
        began = time.perf_counter()
        failed = False
        request_id, method_name, is_stream, app_name, route, model_id, session_id = call.args[0][:7]
        try:
            _context.request_context.set(
                _context.RequestContext(request_id, app_name, route, model_id, session_id)
            )
            assert replica._servable is not None, "called before it was initialized"
            call.enter()
            if tracing.is_on():
                facts = {"request_id": request_id, "route": route, "is_streaming": is_stream}
                with replica.span(method_name, "".join(call.args[0][7:]), facts):
                    failed = await self._answer(replica._servable, method_name, is_stream)
            else:
                failed = await self._answer(replica._servable, method_name, is_stream)
        except asyncio.CancelledError:
            _context.request_context.get().cancel_waiting()
            call.fail(KeyboardInterrupt())
        except BaseException as error:
            failed = True
            call.fail(error)
        finally:
            async_actor.forget_direct(call.task_id)
            replica.ended(failed)
            replica.access.add(request_id, "CALL", method_name, "ERROR" if failed else "OK", began)

    async def _answer(self, servable: Servable, method_name: str, is_stream: bool) -> bool:
        """Run the method and answer the call; whether it failed in a way that the answer tells."""
        call = self.call
        result = await servable.run(servable.method(method_name), call.args[1:], call.kwargs)
        if is_stream:
            await self._stream(servable.items(result))
        else:
            call.enter()
            call.finish(_plain(result))
        return False

    async def _stream(self, items: Any) -> None:
        call = self.call
        try:
            async for item in items:
                has_room = call.yield_value(item)
                while not has_room and not call.is_stopped():
                    await async_actor.until_polled()
                    has_room = call.has_room()
                if call.is_stopped():
                    break
        finally:
            await items.aclose()
        call.finish(iter(()))


class _GrpcRun(_CallRun):
    """One gRPC call being answered."""

    __slots__ = ("_inputs",)

    def __init__(self, replica: Replica, call: Any) -> None:
        super().__init__(replica, call)
        self._inputs: grpc_replica.Input | None = None
        if call.args[2]:  # the client streams
            self._inputs = replica._grpc_inputs[call.args[0][0]] = grpc_replica.Input()

    async def _answer(self, servable: Servable, method_name: str, is_stream: bool) -> bool:
        call = self.call
        items = grpc_replica.run(servable, method_name, is_stream, call.args[1:], self._inputs)
        try:
            if is_stream:
                await self._stream(items)
                return False
            answer = [item async for item in items][-1]
            call.finish(answer)
            return answer.error is not None
        finally:
            if self._inputs is not None:
                self._inputs.close()
                del self.replica._grpc_inputs[call.args[0][0]]


def _plain(result: Any) -> Any:
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise TypeError(
            "Method returned a generator. You must use `handle.options(stream=True)` to call "
            "generators on a deployment."
        )
    return result
