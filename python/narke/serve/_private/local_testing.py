"""Applications without a cluster: their deployments run in this process, each on a thread "
"with an event loop of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from narke.serve._private.build import unique_deployments
from narke.serve._private.common import DEFAULT, DeploymentID
from narke.serve._private.servable import Servable
from narke.serve.deployment import Application, Deployment
from narke.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator

__all__ = ["make_local_handle"]

_END = object()


def make_local_handle(app: Application, app_name: str) -> LocalHandle:
    """Build the application's deployments here; the ingress's handle."""
    handles: dict[str, LocalHandle] = {}

    def handle_of(name: str) -> LocalHandle:
        return handles.setdefault(name, LocalHandle(name, app_name))

    ingress, deployments = unique_deployments(app, handle_of)
    for name, deployment in deployments.items():
        handle_of(name)._local.replica = _LocalReplica(deployment)
    return handles[ingress]


class _Slot:
    """Where a handle finds its replica once that is built."""

    replica: _LocalReplica


class _LocalReplica:
    """One deployment's instance and its event loop."""

    def __init__(self, deployment: Deployment) -> None:
        self.loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self.loop.run_forever, name=f"serve-{deployment.name}", daemon=True)
        thread.start()
        self.servable = Servable(deployment._func_or_class, deployment._args, deployment._kwargs, 1)
        self.run(self._build(deployment.user_config)).result()

    async def _build(self, user_config: Any) -> None:
        await self.servable.build()
        await self.servable.reconfigure(user_config)

    def run(self, work: Any) -> concurrent.futures.Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)


class LocalHandle(DeploymentHandle):
    """A handle of a deployment in this process."""

    _local: _Slot

    def __init__(
        self, deployment_name: str, app_name: str, options: dict[str, Any] | None = None, slot: Any = None
    ) -> None:
        super().__init__(deployment_name, app_name, handle_options=options)
        self.__dict__["_local"] = slot or _Slot()

    def options(self, **given: Any) -> DeploymentHandle:  # type: ignore[override]
        """The same handle with other options."""
        names = {"multiplexed_model_id": "model_id"}
        known = ("method_name", "multiplexed_model_id", "session_id", "stream")
        changed = {names.get(k, k): v for k, v in given.items() if k in known and v is not DEFAULT.VALUE}
        return LocalHandle(
            self.deployment_name, self.app_name, {**self.handle_options, **changed}, self._local
        )

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method in the deployment's thread."""
        replica: _LocalReplica = self._local.replica
        if self.handle_options["stream"]:
            return LocalResponseGenerator(replica, self._stream(replica, args, kwargs))
        return LocalResponse(replica.run(self._call(replica, args, kwargs)))

    async def _call(self, replica: _LocalReplica, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        from narke.serve import context

        here = context.RequestContext("", self.app_name, "", self.handle_options["model_id"])
        context.request_context.set(here)
        args = tuple([await value if isinstance(value, LocalResponse) else value for value in args])
        kwargs = {k: await v if isinstance(v, LocalResponse) else v for k, v in kwargs.items()}
        method = replica.servable.method(self.handle_options["method_name"])
        result = await replica.servable.run(method, args, kwargs)
        if not self.handle_options["stream"] and (inspect.isgenerator(result) or inspect.isasyncgen(result)):
            raise TypeError("Method returned a generator. Use `handle.options(stream=True)` to call it.")
        return result

    async def _stream(
        self, replica: _LocalReplica, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncIterator[Any]:
        async for item in replica.servable.items(await self._call(replica, args, kwargs)):
            yield item

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("A handle of local testing mode belongs to its process")

    @property
    def deployment(self) -> DeploymentID:
        """The deployment's id."""
        return self.deployment_id


class LocalResponse(DeploymentResponse):
    """A result in this process."""

    def __init__(self, future: concurrent.futures.Future[Any]) -> None:
        self._future = future
        self._cancelled = False

    def __await__(self) -> Any:
        """The result."""
        return asyncio.wrap_future(self._future).__await__()

    async def _get(self) -> Any:
        return await self

    def result(self, *, timeout_s: float | None = None, _skip_asyncio_check: bool = False) -> Any:
        """Wait for the result."""
        try:
            return self._future.result(timeout_s)
        except concurrent.futures.TimeoutError:
            raise TimeoutError(f"Timed out waiting for the response: {timeout_s} s have passed.") from None

    def cancel(self) -> None:
        """Cancel the call."""
        self._cancelled = True
        self._future.cancel()


class LocalResponseGenerator(DeploymentResponseGenerator):
    """Items in this process."""

    def __init__(self, replica: _LocalReplica, items: AsyncIterator[Any]) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._cancelled = False
        self._future = replica.run(self._pump(items))

    async def _pump(self, items: AsyncIterator[Any]) -> None:
        try:
            async for item in items:
                self._queue.put((item, None))
            self._queue.put((_END, None))
        except BaseException as error:
            self._queue.put((_END, error))

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """The next item, waiting for it."""
        item, error = self._queue.get()
        if error is not None:
            raise error
        if item is _END:
            raise StopIteration
        return item

    async def __anext__(self) -> Any:
        """The next item."""
        item, error = await asyncio.get_running_loop().run_in_executor(None, self._queue.get)
        if error is not None:
            raise error
        if item is _END:
            raise StopAsyncIteration
        return item

    def cancel(self) -> None:
        """Cancel the call."""
        self._cancelled = True
        self._future.cancel()
