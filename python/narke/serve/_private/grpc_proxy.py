"""The gRPC server of a node: users' services and Serve's own, in the process of the proxy's actor.

grpcio and users' message classes are loaded where a servicer function is configured, and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc

from narke.serve._private import router
from narke.serve._private.common import DeploymentID
from narke.serve._private.grpc_replica import END_OF_INPUT, Answer
from narke.serve._private.router import Pending
from narke.serve.config import import_attr
from narke.serve.exceptions import BackPressureError, DeploymentUnavailableError, RequestCancelledError
from narke.serve.generated import serve_pb2
from narke.serve.generated.serve_pb2_grpc import SERVICE
from narke.serve.grpc_util import RayServegRPCContext
from narke.serve.handle import DeploymentResponse, DeploymentResponseGenerator

__all__ = ["GrpcServer"]

logger = logging.getLogger("ray.serve")
_MOST_FEEDS = 8  # messages of a client that a replica has not used yet
_STOP_GRACE_S = 30.0
_HEALTH = "/grpc.health.v1.Health/Check"  # github.com/grpc/grpc/blob/master/doc/health-checking.md
_SERVING = b"\x08\x01"  # its HealthCheckResponse with the status SERVING
_MESSAGES: Any = serve_pb2


class _Servicer:
    """Stands in for users' servicers, whose methods are never called here."""

    def __getattr__(self, name: str) -> Any:
        return lambda request, context: None


class _Collector:
    """Takes what a generated ``add_..._to_server`` function adds."""

    def __init__(self) -> None:
        self.handlers: list[Any] = []

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        self.handlers.extend(handlers)

    def add_registered_method_handlers(self, service_name: str, handlers: Any) -> None:
        """Newer generated code adds the same methods in this way, too."""


class GrpcServer(grpc.GenericRpcHandler):
    """Answers gRPC calls by methods of the applications' ingress deployments.

    The method of the deployment is that of the service; the application is named by the metadata ``application``.
    """

    def __init__(self, options: dict[str, Any], host: str) -> None:
        for entry in options.get("sys_path") or ():
            if entry not in sys.path:
                sys.path.append(entry)
        self._timeout_s: float | None = options.get("request_timeout_s")
        collector = _Collector()
        for path in options["grpc_servicer_functions"]:
            import_attr(path)(_Servicer(), collector)
        self._users = collector.handlers
        self._host = host
        self._wanted_port = options["port"]
        self._server: Any = None
        self.port = 0

    async def start(self) -> None:
        """Listen.

        Raises:
            RuntimeError: the port is taken.
        """
        router.watch()
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))
        try:
            self.port = self._server.add_insecure_port(f"{self._host}:{self._wanted_port}")
        except RuntimeError as error:
            raise RuntimeError(
                f"gRPC cannot be served on {self._host}:{self._wanted_port}: {error}; choose another port in "
                "grpc_options"
            ) from None
        await self._server.start()

    async def stop(self) -> None:
        """End once the calls under way are answered."""
        if self._server is not None:
            await self._server.stop(_STOP_GRACE_S)

    # ---- which method ----

    def service(self, handler_call_details: Any) -> Any:
        """gRPC's question who answers a method; None: nobody."""
        path = handler_call_details.method
        if path == _HEALTH:
            return grpc.unary_unary_rpc_method_handler(self._health)
        if path.startswith(f"/{SERVICE}/"):
            return self._own(path.rpartition("/")[2])
        for handler in self._users:
            found = handler.service(handler_call_details)
            if found is not None:
                return self._routed(path.rpartition("/")[2], found)
        return None

    def _own(self, name: str) -> Any:
        answers = {"ListApplications": self._list_applications, "Healthz": self._healthz}
        if name not in answers:
            return None
        return grpc.unary_unary_rpc_method_handler(
            answers[name],
            request_deserializer=getattr(_MESSAGES, f"{name}Request").FromString,
            response_serializer=getattr(_MESSAGES, f"{name}Response").SerializeToString,
        )

    def _routed(self, name: str, declared: Any) -> Any:
        """A handler that calls a deployment; its answers are bytes already."""

        async def single(request: Any, context: Any) -> Any:
            return await self._call(name, request, declared.request_streaming, context)

        async def streamed(request: Any, context: Any) -> Any:
            async for item in self._stream(name, request, declared.request_streaming, context):
                yield item

        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[declared.request_streaming, declared.response_streaming]
        return make(
            streamed if declared.response_streaming else single,
            request_deserializer=declared.request_deserializer,
        )

    # ---- Serve's own ----

    async def _health(self, request: bytes, context: Any) -> bytes:
        return _SERVING

    async def _list_applications(self, request: Any, context: Any) -> Any:
        names = sorted(route["app"] for route in router.routes())
        return _MESSAGES.ListApplicationsResponse(application_names=names)

    async def _healthz(self, request: Any, context: Any) -> Any:
        if not router.is_told():
            context.set_code(grpc.StatusCode.UNAVAILABLE)
            context.set_details("The proxy does not know the routes yet.")
        return _MESSAGES.HealthzResponse(message="success")

    # ---- users' ----

    async def _call(self, name: str, request: Any, feeds: bool, context: Any) -> Any:
        call = await _Call.begin(name, request, feeds, context, is_stream=False)
        try:
            answer = await asyncio.wait_for(call.result(), self._timeout_s)
        except Exception as error:
            return await call.fail(error)
        finally:
            call.end()
        return await call.finish(answer)

    async def _stream(self, name: str, request: Any, feeds: bool, context: Any) -> AsyncIterator[bytes]:
        call = await _Call.begin(name, request, feeds, context, is_stream=True)
        loop = asyncio.get_running_loop()
        deadline = None if self._timeout_s is None else loop.time() + self._timeout_s
        try:
            while True:
                left = None if deadline is None else max(0.0, deadline - loop.time())
                item = await asyncio.wait_for(call.result(), left)
                if isinstance(item, Answer):
                    await call.finish(item)
                    return
                yield item
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await call.fail(error)
        finally:
            call.end()


class _Call:
    """One gRPC call on its way through a replica."""

    def __init__(self, request_id: str, context: Any, pending: Pending, response: Any) -> None:
        self._request_id = request_id
        self._context = context
        self._pending = pending
        self._response = response
        self._is_done = False
        self._feeder: asyncio.Task[None] | None = None

    @classmethod
    async def begin(cls, method: str, request: Any, feeds: bool, context: Any, is_stream: bool) -> _Call:
        """Send the call to a replica.

        Raises:
            grpc.aio.AbortError: there is no such application, or it has no room; the client is told.
        """
        sent = dict(context.invocation_metadata() or ())
        route = await _route_of(sent.get("application"), context)
        request_id = str(sent.get("request_id") or uuid.uuid4())
        context.set_trailing_metadata((("request_id", request_id),))
        model = str(sent.get("multiplexed_model_id", ""))
        meta = (request_id, method, is_stream, route["app"], route["prefix"], model, "")
        facts = RayServegRPCContext(context)
        argument = None if feeds else request
        pending = Pending(meta, (argument, feeds, facts), {}, -1 if is_stream else 1, "serve_grpc")
        chosen = router.router_of(DeploymentID.from_key(route["deployment"]))
        kind = DeploymentResponseGenerator if is_stream else DeploymentResponse
        call = cls(request_id, context, pending, kind(pending, chosen))
        try:
            chosen.submit(pending)
        except Exception as error:
            await call.fail(error)
        if feeds:
            call._feeder = asyncio.get_running_loop().create_task(call._feed(request))
        return call

    async def _feed(self, messages: AsyncIterator[Any]) -> None:
        """Hand on what the client streams."""
        await self._response._until_sent_async()
        feed = self._pending.replica.feed_call()  # type: ignore[union-attr]
        under_way: set[Any] = set()
        async for message in messages:
            under_way.add(asyncio.ensure_future(_answered(feed((self._request_id, message)))))
            if len(under_way) >= _MOST_FEEDS:
                _, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        feed((self._request_id, END_OF_INPUT))

    async def result(self) -> Any:
        """The answer, or the next item: bytes, and an `Answer` at the end."""
        if isinstance(self._response, DeploymentResponseGenerator):
            return await self._response.__anext__()
        return await self._response

    async def finish(self, answer: Answer) -> bytes | None:
        """End the call as its method wished; gives the message."""
        self._is_done = True
        answer.context._set_on_grpc_context(self._context)
        if answer.error is not None:
            code = answer.context.code() or grpc.StatusCode.INTERNAL
            await self._context.abort(code, answer.context.details() or answer.error, self._trailing(answer))
        return answer.message

    def _trailing(self, answer: Answer) -> tuple[tuple[str, Any], ...]:
        return tuple(answer.context.trailing_metadata())

    async def fail(self, error: BaseException) -> None:
        """End the call with what went wrong on the way."""
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, (asyncio.TimeoutError, TimeoutError)):
            code, text = grpc.StatusCode.DEADLINE_EXCEEDED, "The request took longer than it may."
        elif isinstance(cause, BackPressureError):
            code, text = grpc.StatusCode.RESOURCE_EXHAUSTED, cause.message
        elif isinstance(cause, DeploymentUnavailableError):
            code, text = grpc.StatusCode.UNAVAILABLE, cause.message
        elif isinstance(cause, RequestCancelledError):
            code, text = grpc.StatusCode.CANCELLED, "The request was cancelled."
        else:
            logger.error("Request %s failed.", self._request_id, exc_info=error)
            code, text = grpc.StatusCode.INTERNAL, f"The request failed: {type(cause).__name__}"
        await self._context.abort(code, text)

    def end(self) -> None:
        """The client has its answer, or is gone."""
        if self._feeder is not None:
            self._feeder.cancel()
        if not self._is_done:
            self._response.cancel()


async def _answered(reference: Any) -> None:
    await reference


async def _route_of(application: Any, context: Any) -> dict[str, Any]:
    """The route of the application that a client named; the only one there is if it named none."""
    routes = router.routes()
    wanted = application.decode() if isinstance(application, bytes) else application
    if wanted is None and len(routes) == 1:
        return routes[0]
    found = next((route for route in routes if route["app"] == wanted), None)
    if found is not None:
        return found
    if wanted is None:
        text = "Application metadata not set: send the metadata 'application'."
    else:
        text = f"Application '{wanted}' not found."
    await context.abort(
        grpc.StatusCode.NOT_FOUND,
        f"{text} Please ping /{SERVICE}/ListApplications for available applications.",
    )
    raise AssertionError("abort() raises")
