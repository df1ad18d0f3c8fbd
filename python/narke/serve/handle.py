"""Handles: calls to deployments from Python."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

from narke._private import async_ref, session
from narke.exceptions import ActorDiedError, GetTimeoutError, RayTaskError, TaskCancelledError
from narke.serve import context as _context
from narke.serve._private import tracing
from narke.serve._private.common import DEFAULT, DeploymentID
from narke.serve._private.router import Pending, RoutedReplica, Router, router_of
from narke.serve.exceptions import RequestCancelledError

__all__ = [
    "DeploymentBroadcastResponse",
    "DeploymentHandle",
    "DeploymentResponse",
    "DeploymentResponseGenerator",
]

_ONE, _STREAM = 1, -1


class _Response:
    """What the two kinds of responses share: the call, once it is sent."""

    def __init__(self, pending: Pending, router: Router) -> None:
        self._pending = pending
        self._router = router
        self._cancelled = False

    @property
    def request_id(self) -> str:
        """Id of the request that the call belongs to."""
        return str(self._pending.meta[0])

    @property
    def by_reference(self) -> bool:
        """Whether the result travels as an object of the cluster; always so."""
        return True

    def cancel(self) -> None:
        """Cancel the call: one that waits never runs, one that runs is cancelled. A finished one is left as it is."""
        if self._cancelled:
            return
        self._cancelled = True
        pending = self._pending
        if self._router.drop(pending) or (pending.result is None and pending.error is None):
            pending.error = RequestCancelledError(self.request_id)
            return pending.settle()
        if self._pending.result is not None:
            import narke

            narke.cancel(self._pending.result)

    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def _until_sent(self, deadline: float | None) -> None:
        pending = self._pending
        if pending.result is None and pending.error is None:
            sent = threading.Event()
            pending.on_sent.append(sent.set)
            if pending.result is None and pending.error is None:
                if not sent.wait(None if deadline is None else max(0.0, deadline - time.monotonic())):
                    raise TimeoutError("Timed out waiting for a replica to take the request.")
        if pending.error is not None:
            raise pending.error

    async def _until_sent_async(self) -> None:
        pending = self._pending
        if pending.result is None and pending.error is None:
            await _until_told(pending.on_sent, lambda: pending.result is None and pending.error is None)
        if pending.error is not None:
            raise pending.error

    def _translate(self, error: BaseException) -> BaseException:
        """What the caller is told of an error; a replica that it names dead gets no more calls."""
        cause = getattr(error, "cause", None)
        if isinstance(error, ActorDiedError):
            if self._pending.replica is not None and not isinstance(error, RayTaskError):
                self._pending.replica.lose()
            return error
        if isinstance(error, TaskCancelledError) or isinstance(cause, TaskCancelledError):
            return RequestCancelledError(self.request_id)
        return error


async def _until_told(listeners: list[Callable[[], None]], is_due: Callable[[], bool]) -> None:
    """Wait until one of the listeners would be called; not at all if that is not due any more."""
    future, wake = async_ref.waker(asyncio.get_running_loop())
    listeners.append(wake)
    if is_due():  # else it came between the question and the listener
        await future


def _refuse_in_loop(instead: str) -> None:
    if asyncio._get_running_loop() is not None:
        raise RuntimeError(
            f"Sync methods should not be called from within an `asyncio` event loop. Use `{instead}` instead."
        )


class DeploymentResponse(_Response):
    """The result of a call that may not be there yet: ``await response`` or ``response.result()``.

    Passed as an argument to another call, its result takes its place there.
    """

    def __await__(self) -> Generator[Any, None, Any]:
        """The result; raises what the method raised."""
        return self._get().__await__()

    async def _get(self) -> Any:
        try:
            pending = self._pending
            if pending.result is None:
                await self._until_sent_async()
            if not pending.is_ready:
                await _until_told(pending.on_ready, lambda: not pending.is_ready)
            return session.native().get(pending.result)
        except asyncio.CancelledError:
            self.cancel()
            raise
        except (TaskCancelledError, ActorDiedError) as error:
            raise self._translate(error) from None

    def result(self, *, timeout_s: float | None = None, _skip_asyncio_check: bool = False) -> Any:
        """Wait for the result.

        Args:
            timeout_s: at most so long; None: without limit.

        Raises:
            TimeoutError: it is not there in time.
            RuntimeError: called in an event loop, which it would block.
        """
        if not _skip_asyncio_check:
            _refuse_in_loop("await response")
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._until_sent(deadline)
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            return session.native().get(self._pending.result, timeout=left)
        except GetTimeoutError:
            raise GetTimeoutError(f"No response came within {timeout_s} s.") from None
        except (TaskCancelledError, ActorDiedError) as error:
            raise self._translate(error) from None

    async def _to_object_ref(self) -> Any:
        """The result's ObjectRef, once the call is sent."""
        await self._until_sent_async()
        return self._pending.result

    def _to_object_ref_sync(
        self, _timeout_s: float | None = None, _allow_running_in_asyncio_loop: bool = False
    ) -> Any:
        """The same, waiting in this thread."""
        if not _allow_running_in_asyncio_loop:
            _refuse_in_loop("await response._to_object_ref()")
        self._until_sent(None if _timeout_s is None else time.monotonic() + _timeout_s)
        return self._pending.result

    def __reduce__(self) -> tuple[Any, ...]:
        raise RuntimeError(
            "`DeploymentResponse` is not serializable. If you are passing the `DeploymentResponse` in "
            "a nested object (e.g. "
            "a list or dictionary), you should await it first and pass its value, or pass it as a top-level argument."
        )


class DeploymentResponseGenerator(_Response):
    """The items of a call that streams: iterate it, in a thread or in an event loop."""

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        """The next item."""
        try:
            await self._until_sent_async()
            ref = await self._pending.result.__anext__()
            return await ref
        except asyncio.CancelledError:
            self.cancel()
            raise
        except (TaskCancelledError, ActorDiedError) as error:
            raise self._translate(error) from None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """The next item, waiting for it."""
        _refuse_in_loop("async for item in response")
        self._until_sent(None)
        try:
            return session.native().get(next(self._pending.result))
        except (TaskCancelledError, ActorDiedError) as error:
            raise self._translate(error) from None

    def __await__(self) -> Any:
        """Refuse: it is a stream."""
        raise TypeError(
            "`DeploymentResponseGenerator` cannot be awaited directly. Use `async for` or `await response.__anext__()`"
        )

    def result(self, *, timeout_s: float | None = None, _skip_asyncio_check: bool = False) -> Any:
        """Refuse: it is a stream."""
        raise TypeError(
            "`DeploymentResponseGenerator` doesn't support `result()`. Use `for` or `async for` instead."
        )

    async def _to_object_ref_gen(self) -> Any:
        """The generator of the items' ObjectRefs, once the call is sent."""
        await self._until_sent_async()
        return self._pending.result

    def _to_object_ref_gen_sync(
        self, _timeout_s: float | None = None, _allow_running_in_asyncio_loop: bool = False
    ) -> Any:
        """The same, waiting in this thread."""
        self._until_sent(None if _timeout_s is None else time.monotonic() + _timeout_s)
        return self._pending.result


class DeploymentBroadcastResponse:
    """The results of a call to every replica."""

    def __init__(self, coro: Any, loop: Any) -> None:
        self._responses: list[DeploymentResponse] = coro
        self._loop = loop

    def results(self, *, timeout_s: float | None = None, return_exceptions: bool = False) -> list[Any]:
        """Wait for all.

        Args:
            timeout_s: at most so long altogether; None: without limit.
            return_exceptions: give an exception in place of a result that is one.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        found = []
        for response in self._responses:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                found.append(response.result(timeout_s=left))
            except Exception as error:
                if not return_exceptions:
                    raise
                found.append(error)
        return found

    async def results_async(
        self, *, timeout_s: float | None = None, return_exceptions: bool = False
    ) -> list[Any]:
        """The same in an event loop."""
        gathered = asyncio.gather(*(r._get() for r in self._responses), return_exceptions=return_exceptions)
        return list(await asyncio.wait_for(gathered, timeout_s))


class _Selection:
    """A replica that was chosen ahead of its call."""

    def __init__(self, replica: RoutedReplica) -> None:
        self._replica = replica
        self.replica_id = replica.id
        self.node_id = replica.node


class DeploymentHandle:
    """Calls a deployment: ``handle.remote(x)`` its ``__call__``, ``handle.method.remote(x)`` another method.

    Handles pickle. Calls beyond what the replicas may run wait in this process.
    """

    deployment_id: DeploymentID
    handle_options: dict[str, Any]
    init_options: Any
    handle_id: str
    request_counter: Any
    _router: Any

    def __init__(
        self,
        deployment_name: str,
        app_name: str,
        *,
        init_options: Any = None,
        handle_options: dict[str, Any] | None = None,
        _router: Any = None,
        _create_router: Callable[..., Any] | None = None,
        _request_counter: Any = None,
        _handle_id: str | None = None,
    ) -> None:
        fields = self.__dict__
        fields["deployment_id"] = DeploymentID(deployment_name, app_name)
        fields["handle_options"] = {
            "method_name": "__call__",
            "model_id": "",
            "session_id": "",
            "stream": False,
            "prefers_node": bool((init_options or {}).get("_prefer_local_routing")),
            **(handle_options or {}),
        }
        fields["init_options"] = init_options
        fields["handle_id"] = _handle_id or uuid.uuid4().hex[:8]
        fields["request_counter"] = _request_counter
        fields["_router"] = _router

    @property
    def deployment_name(self) -> str:
        """The deployment's name."""
        return str(self.deployment_id.name)

    @property
    def app_name(self) -> str:
        """Its application's name."""
        return str(self.deployment_id.app_name)

    @property
    def is_initialized(self) -> bool:
        """Whether it has been used, or told its options."""
        return self._router is not None

    def _init(self, **kwargs: Any) -> None:
        """Fix options of the router before the first call."""
        if self.is_initialized:
            raise RuntimeError(
                "Handle has already been initialized. Note that a handle is implicitly initialized when "
                "you call `.options()` "
                "or `.remote()`."
            )
        self.__dict__["init_options"] = kwargs
        self.handle_options["prefers_node"] = bool(kwargs.get("_prefer_local_routing"))
        self._get_router()

    def _get_router(self) -> Router:
        found = self._router
        if found is None or (isinstance(found, Router) and found.session is not session.current()):
            found = self.__dict__["_router"] = router_of(self.deployment_id)
        return found  # type: ignore[no-any-return]

    def running_replicas_populated(self) -> bool:
        """Whether the handle has been told of a replica."""
        return self._get_router().populated.is_set()

    def options(
        self,
        *,
        method_name: Any = DEFAULT.VALUE,
        multiplexed_model_id: Any = DEFAULT.VALUE,
        session_id: Any = DEFAULT.VALUE,
        stream: Any = DEFAULT.VALUE,
        _prefer_local_routing: Any = DEFAULT.VALUE,
        _by_reference: Any = DEFAULT.VALUE,
        request_serialization: Any = DEFAULT.VALUE,
        response_serialization: Any = DEFAULT.VALUE,
        use_new_handle_api: Any = DEFAULT.VALUE,
    ) -> DeploymentHandle:
        """The same handle with other options.

        Args:
            method_name: method that `remote` calls.
            multiplexed_model_id: model to be used; replicas that hold it are preferred.
            session_id: told to the method's request context.
            stream: the method is a generator: `remote` gives a `DeploymentResponseGenerator`.
            _prefer_local_routing: replicas of the caller's node are preferred while they have room.
        """
        given = {
            "method_name": method_name,
            "model_id": multiplexed_model_id,
            "session_id": session_id,
            "stream": stream,
            "prefers_node": _prefer_local_routing,
        }
        changed = {key: value for key, value in given.items() if value is not DEFAULT.VALUE}
        return DeploymentHandle(
            self.deployment_name,
            self.app_name,
            init_options=self.init_options,
            handle_options={**self.handle_options, **changed},
            _router=self._router,
        )

    def __getattr__(self, name: str) -> DeploymentHandle:
        if name.startswith("__"):
            raise AttributeError(name)
        found = self.options(method_name=name)
        self.__dict__[name] = found
        return found

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method.

        Returns:
            a `DeploymentResponse`, or a `DeploymentResponseGenerator` with ``stream=True``; errors, too, come with it.
        """
        options = self.handle_options
        here = _context.request_context.get()
        meta = (
            here.request_id or str(uuid.uuid4()),
            options["method_name"],
            options["stream"],
            here.app_name or self.app_name,
            here.route,
            options["model_id"],
            options["session_id"],
            *((tracing.carrier(),) if tracing.is_on() else ()),
        )
        stream = options["stream"]
        router = self._get_router()
        pending = Pending(meta, args, kwargs, _STREAM if stream else _ONE)
        pending.prefers_node = options["prefers_node"]
        response = (
            DeploymentResponseGenerator(pending, router) if stream else DeploymentResponse(pending, router)
        )
        _submit(router, pending)
        if pending.result is None and here is not _context.NO_REQUEST:
            here.hold(response)
        return response

    def broadcast(self, method_name: str, *args: Any, **kwargs: Any) -> DeploymentBroadcastResponse:
        """Call a method of every replica there is now."""
        router = self._get_router()
        router.populated.wait(30)
        responses = []
        for replica in list(router.replicas.values()):
            meta = (str(uuid.uuid4()), method_name, False, self.app_name, "", "", "")
            pending = Pending(meta, args, kwargs, _ONE)
            replica.mine += 1
            router._send(pending, replica)
            responses.append(DeploymentResponse(pending, router))
        return DeploymentBroadcastResponse(responses, None)

    @contextlib.asynccontextmanager
    async def choose_replica(self, *args: Any, **kwargs: Any) -> AsyncIterator[_Selection]:
        """Choose a replica ahead of the call; its place is kept until the block ends."""
        router = self._get_router()
        while (replica := router.reserve()) is None:
            await asyncio.sleep(0.005)
        try:
            yield _Selection(replica)
        finally:
            router._done(replica)

    def dispatch(self, selection: _Selection, *args: Any, **kwargs: Any) -> Any:
        """Call the replica that `choose_replica` gave."""
        options = self.handle_options
        meta = (
            str(uuid.uuid4()),
            options["method_name"],
            options["stream"],
            self.app_name,
            "",
            options["model_id"],
            "",
        )
        router = self._get_router()
        pending = Pending(meta, args, kwargs, _STREAM if options["stream"] else _ONE)
        selection._replica.mine += 1
        router._send(pending, selection._replica)
        return (
            DeploymentResponseGenerator(pending, router)
            if options["stream"]
            else DeploymentResponse(pending, router)
        )

    def shutdown(self) -> None:
        """Forget the router; the next call makes another."""
        self.__dict__["_router"] = None

    async def shutdown_async(self) -> None:
        """`shutdown`, for event loops."""
        self.shutdown()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DeploymentHandle)
            and self.deployment_id == other.deployment_id
            and self.handle_options == other.handle_options
        )

    def __hash__(self) -> int:
        return hash(self.deployment_id)

    def __repr__(self) -> str:
        return f"DeploymentHandle(deployment='{self.deployment_name}', app='{self.app_name}')"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.deployment_name, self.app_name, self.init_options, self.handle_options)


def _rebuild(
    deployment: str, app: str, init_options: Any, handle_options: dict[str, Any]
) -> DeploymentHandle:
    return DeploymentHandle(deployment, app, init_options=init_options, handle_options=handle_options)


def _submit(router: Router, pending: Pending) -> None:
    """Send the call once the responses among its arguments are there.

    Not before: a replica's calls arrive in their order, and those behind it must not wait for its arguments.
    """
    if pending.error is not None:  # cancelled meanwhile
        return
    responses = [v for v in (*pending.args, *pending.kwargs.values()) if isinstance(v, _Response)]
    late = [r._pending for r in responses if not _is_settled(r)]
    if late:
        return _when_settled(late, lambda: _submit(router, pending))
    try:
        if responses:
            pending.args = tuple(_argument(value) for value in pending.args)
            pending.kwargs = {name: _argument(value) for name, value in pending.kwargs.items()}
        router.submit(pending)
    except Exception as error:
        pending.error = error
        pending.settle()


def _is_settled(response: _Response) -> bool:
    pending = response._pending
    return pending.is_ready or pending.error is not None or isinstance(response, DeploymentResponseGenerator)


def _when_settled(calls: list[Pending], then: Callable[[], None]) -> None:
    """Call `then` once, when each of the calls has a result or an error."""
    left = {id(call) for call in calls}
    lock = threading.Lock()

    def look(call: Pending) -> None:
        with lock:
            if id(call) not in left or not (call.is_ready or call.error is not None):
                return
            left.discard(id(call))
            if left:
                return
        then()

    for call in calls:
        told = functools.partial(look, call)
        call.on_sent.append(told)  # it may have failed to be sent
        call.on_ready.append(told)
        told()  # it came between the question and the listeners


def _argument(value: Any) -> Any:
    if isinstance(value, DeploymentResponseGenerator):
        raise RuntimeError("Streaming deployment handle results cannot be passed to downstream handle calls.")
    if isinstance(value, DeploymentResponse):
        if value._pending.error is not None:
            raise value._pending.error
        return value._pending.result
    return value
