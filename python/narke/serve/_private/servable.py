"""The user's class or function inside a replica: how it is built, called and asked whether it is well."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import importlib
import inspect
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

from narke.serve._private.http import HttpCall
from narke.serve.exceptions import RayServeException

__all__ = ["Servable"]

_END = object()


class Servable:
    """Runs a deployment's code.

    Coroutines run on the replica's event loop. Plain functions run one after another in a thread of their own, so that
    a long one does not keep the replica from answering health checks; in a pool of `threads` with
    RAY_SERVE_RUN_SYNC_IN_THREADPOOL=1.
    """

    def __init__(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], threads: int) -> None:
        self.target = target
        self._args = args
        self._kwargs = kwargs
        self.instance: Any = None
        self._asgi: Any = None
        self._threads = threads
        many = os.environ.get("RAY_SERVE_RUN_SYNC_IN_THREADPOOL", "0") == "1"
        self._pool = concurrent.futures.ThreadPoolExecutor(max(1, threads) if many else 1, "serve-handler")
        self._lifespan: Any = None
        self._kinds: dict[Any, str] = {}  # what kind of function each method is

    async def build(self) -> None:
        """Run the constructor; start an ASGI app's lifespan."""
        if inspect.isclass(self.target):
            self.instance = self.target.__new__(self.target)
            started = self.instance.__init__(*self._args, **self._kwargs)
            if inspect.isawaitable(started):
                await started
        else:
            self.instance = self.target
        if getattr(self.target, "__serve_asgi__", None) is not None:
            from narke.serve._private.asgi import Lifespan, bind_app

            self._asgi = bind_app(self.target, self.instance)
            self._lifespan = Lifespan(self._asgi)
            await self._lifespan.start()
        if (consume := getattr(self.instance, "__serve_consume__", None)) is not None:  # see task_consumer.py
            await asyncio.to_thread(consume, self._threads)
        self._args, self._kwargs = (), {}

    # ---- HTTP ----

    def http_handler(self) -> Callable[[HttpCall], Any]:
        """The coroutine function that answers HTTP requests."""
        if self._asgi is not None:
            return self._run_asgi
        call = self.method("__call__")
        needs_request = _takes_argument(call)
        kind = _kind_of(call)
        if kind == "coroutine":
            return _AsyncHandler(call, needs_request).run
        return functools.partial(self._run_handler, call, needs_request)

    def expect_http(self) -> None:
        """Have all modules ready that the first request needs, so that it does not wait for them."""
        if self._asgi is None and _takes_argument(self.method("__call__")):
            importlib.import_module("narke.serve._private.requests")

    async def _run_asgi(self, http: HttpCall) -> None:
        scope = http.scope()
        if self._lifespan.state:
            scope["state"] = dict(self._lifespan.state)
        await self._asgi(scope, http.receive, http.send)

    async def _run_handler(self, handler: Callable[..., Any], needs_request: bool, http: HttpCall) -> None:
        args = (await _request_of(http),) if needs_request else ()
        await http.answer_with(await self.run(handler, args, {}))

    # ---- calls ----

    def method(self, name: str) -> Callable[..., Any]:
        """The method a call names.

        Raises:
            RayServeException: there is none.
        """
        if inspect.isclass(self.target):
            found = getattr(self.instance, name, None)
            if callable(found):
                return found  # type: ignore[no-any-return]
            methods = sorted(
                n
                for n in dir(self.instance)
                if not n.startswith("__") and callable(getattr(self.instance, n))
            )
            raise RayServeException(
                f"Tried to call a method '{name}' that does not exist. Available methods: {methods}."
            )
        if name != "__call__":
            raise RayServeException(f"A function deployment has no method '{name}': call its handle itself")
        return self.target  # type: ignore[no-any-return]

    async def run(self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the method gives; a generator stays one."""
        if self._kind(method) == "function":
            result = await self.in_thread(method, *args, **kwargs)
        else:
            result = method(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    def _kind(self, method: Callable[..., Any]) -> str:
        function = getattr(method, "__func__", method)
        if not inspect.isfunction(function):
            return _kind_of(method)
        found = self._kinds.get(function)
        if found is None:
            found = self._kinds[function] = _kind_of(method)
        return found

    async def in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a plain function in the handlers' thread, with the caller's context."""
        context = contextvars.copy_context()
        work = functools.partial(context.run, function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def items(self, result: Any) -> AsyncIterator[Any]:
        """The items of what a streaming call gave."""
        if inspect.isasyncgen(result) or hasattr(result, "__anext__"):
            async for item in result:
                yield item
            return
        if not hasattr(result, "__next__"):
            raise TypeError(
                f"A handle with stream=True called a method that returned {type(result).__name__}: it must "
                "be a generator"
            )
        while (item := await self.in_thread(next, result, _END)) is not _END:
            yield item

    # ---- life ----

    async def reconfigure(self, user_config: Any) -> None:
        """Hand a new user_config to the instance.

        Raises:
            ValueError: it has no ``reconfigure``.
        """
        if user_config is None:
            return
        if not inspect.isclass(self.target):
            raise ValueError("deployment_def must be a class to use user_config")
        method = getattr(self.instance, "reconfigure", None)
        if method is None:
            raise ValueError(
                f"user_config specified but deployment {self.target.__name__} missing reconfigure method"
            )
        result = method(user_config)
        if inspect.isawaitable(result):
            await result

    async def check_health(self) -> None:
        """Raise what the instance's ``check_health`` raises."""
        method = getattr(self.instance, "check_health", None) if inspect.isclass(self.target) else None
        if method is None:
            return
        result = method()
        if inspect.isawaitable(result):
            await result

    async def told_by(self, name: str) -> dict[str, Any]:
        """What the instance's ``record_routing_stats`` or ``record_replica_metadata`` gives routers to know."""
        method = getattr(self.instance, name, None) if inspect.isclass(self.target) else None
        if method is None:
            return {}
        result = method()
        return dict(await result if inspect.isawaitable(result) else result)

    async def destroy(self) -> None:
        """Run the instance's ``__del__`` and the lifespan's end, once."""
        if self._lifespan is not None:
            await self._lifespan.stop()
        delete = getattr(type(self.instance), "__del__", None) if inspect.isclass(self.target) else None
        if delete is not None:
            type(self.instance).__del__ = lambda self: None
            result = delete(self.instance)
            if inspect.isawaitable(result):
                await result
        self._pool.shutdown(wait=False, cancel_futures=True)


class _AsyncHandler:
    """A coroutine handler of HTTP requests: the fast path."""

    def __init__(self, handler: Callable[..., Any], needs_request: bool) -> None:
        self._handler = handler
        self._needs_request = needs_request

    async def run(self, http: HttpCall) -> None:
        result = await (self._handler(await _request_of(http)) if self._needs_request else self._handler())
        await http.answer_with(result)


async def _request_of(http: HttpCall) -> Any:
    if http.is_websocket:
        from starlette.websockets import WebSocket

        return WebSocket(http.scope(), http.receive, http.send)
    return http.request()


def _kind_of(function: Callable[..., Any]) -> str:
    """coroutine, generator or function."""
    inner = inspect.unwrap(function)
    if not inspect.isroutine(inner) and not inspect.isclass(inner):
        inner = type(inner).__call__
    while isinstance(inner, functools.partial):
        inner = inner.func
    if inspect.iscoroutinefunction(inner):
        return "coroutine"
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        return "generator"
    return "function"


def _takes_argument(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return True
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in positional or p.kind == inspect.Parameter.VAR_POSITIONAL for p in parameters)
