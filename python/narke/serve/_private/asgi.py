"""ASGI applications in replicas: FastAPI's class-based routes, and the lifespan protocol."""

from __future__ import annotations

import asyncio
import contextlib
import copyreg
import inspect
import threading
import types
from typing import Any

from narke.serve.exceptions import BackPressureError, DeploymentUnavailableError

__all__ = ["Lifespan", "bind_app", "declared_routes", "register_pickling"]


_LOCK = type(threading.Lock())


def _pickle_state(state: Any) -> tuple[Any, ...]:
    from starlette.datastructures import State

    return State, (dict(state._state),)


def _pickle_included(router: Any) -> tuple[Any, ...]:
    locks = {name for name, value in vars(router).items() if isinstance(value, _LOCK)}
    state = {name: value for name, value in vars(router).items() if name not in locks}
    return _new_included, (type(router), locks), state


def _new_included(cls: type, locks: set[str]) -> Any:
    made: Any = object.__new__(cls)
    for name in locks:
        object.__setattr__(made, name, threading.Lock())
    return made


def register_pickling() -> None:
    """Let apps pickle.

    Without help, the ``__getattr__`` of Starlette's State recurses for ever while it is rebuilt; what FastAPI keeps of
    an included router holds a lock.
    """
    from starlette.datastructures import State

    copyreg.pickle(State, _pickle_state)
    with contextlib.suppress(ImportError):  # FastAPI is not installed, or includes routers otherwise
        from fastapi.routing import _IncludedRouter

        copyreg.pickle(_IncludedRouter, _pickle_included)


def declared_routes(app: Any, cls: type) -> list[Any] | None:
    """The routes that a FastAPI app has now, without methods of other classes; None: it is another kind of app."""
    if not hasattr(app, "include_router"):
        return None
    own = [value for each in cls.__mro__ for value in vars(each).values()]
    return [route for route in app.router.routes if not _is_of_others(getattr(route, "endpoint", None), own)]


def _is_of_others(endpoint: Any, own: list[Any]) -> bool:
    if not inspect.isfunction(endpoint) or any(endpoint is each for each in own):
        return False
    owner = endpoint.__qualname__.rpartition(".")[0]
    return bool(owner) and not owner.endswith("<locals>") and _first_parameter(endpoint) == "self"


def bind_app(target: type, instance: Any) -> Any:
    """The ASGI app of an ingress deployment, its routes bound to the instance.

    Args:
        target: the deployment's class, marked by `narke.serve.ingress`.
        instance: of it.
    """
    app = target.__serve_asgi__  # type: ignore[attr-defined]
    if getattr(target, "__serve_builds_app__", False):
        app = instance._serve_build_app()
    elif (routes := getattr(target, "__serve_routes__", None)) is not None:
        app.router.routes[:] = routes
    if hasattr(app, "router") and hasattr(app, "include_router"):
        _bind_routes(app.router, target, instance)
        app.openapi_schema = None
    if hasattr(app, "exception_handlers") and hasattr(app, "add_exception_handler"):
        for kind in (BackPressureError, DeploymentUnavailableError):
            app.exception_handlers.setdefault(kind, _answer_unavailable)
    return app


async def _answer_unavailable(request: Any, error: Any) -> Any:
    """What a handler that asked another deployment could not get: the client may try again."""
    from starlette.responses import PlainTextResponse

    cause = getattr(error, "cause", None) or error
    return PlainTextResponse(cause.message, getattr(cause, "status_code", 503))


def _bind_routes(router: Any, target: type, instance: Any) -> None:
    """Give the routes that were declared in the class's body `self`, in a router and those it includes."""
    from fastapi.routing import APIRoute, APIWebSocketRoute

    names = {cls.__name__ for cls in target.__mro__}  # pickling by value keeps no qualified name
    for index, route in enumerate(router.routes):
        if hasattr(route, "original_router"):
            _bind_routes(route.original_router, target, instance)
        endpoint: Any = getattr(route, "endpoint", None)
        if isinstance(route, (APIRoute, APIWebSocketRoute)) and _is_method(endpoint, names):
            router.routes[index] = _with_endpoint(route, types.MethodType(endpoint, instance))


def _with_endpoint(route: Any, endpoint: Any) -> Any:
    """The same route with another endpoint, whose parameters are looked at anew."""
    known = vars(route)
    wanted = inspect.signature(type(route).__init__).parameters
    arguments = {name: known[name] for name in wanted if name in known}
    return type(route)(**{**arguments, "endpoint": endpoint})


def _is_method(endpoint: Any, class_names: set[str]) -> bool:
    if not inspect.isfunction(endpoint):
        return False
    owner = endpoint.__qualname__.rpartition(".")[0].rpartition(".")[2]
    return owner in class_names and _first_parameter(endpoint) == "self"


def _first_parameter(function: Any) -> str | None:
    return next(iter(inspect.signature(function).parameters), None)


class Lifespan:
    """Runs an app's startup and shutdown.

    Attributes:
        state: what the startup left for requests.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._started: asyncio.Future[None] | None = None
        self._stopped: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}

    async def start(self) -> None:
        """Run the startup.

        Raises:
            RuntimeError: the app says that it failed.
        """
        loop = asyncio.get_running_loop()
        self._started, self._stopped = loop.create_future(), loop.create_future()
        self._task = loop.create_task(self._run())
        await self._inbox.put({"type": "lifespan.startup"})
        await self._started

    async def stop(self) -> None:
        """Run the shutdown, if there was a startup."""
        if self._task is None or self._task.done() or self._stopped is None:
            return
        await self._inbox.put({"type": "lifespan.shutdown"})
        await asyncio.wait([self._stopped, self._task], timeout=5, return_when=asyncio.FIRST_COMPLETED)
        self._task.cancel()

    async def _run(self) -> None:
        assert self._started is not None and self._stopped is not None
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        with contextlib.suppress(
            Exception
        ):  # an app without the protocol raises; one that failed has said so
            await self._app(scope, self._inbox.get, self._send)
        for future in (self._started, self._stopped):
            if not future.done():
                future.set_result(None)

    async def _send(self, message: dict[str, Any]) -> None:
        assert self._started is not None and self._stopped is not None
        kind = message["type"]
        if kind == "lifespan.startup.complete" and not self._started.done():
            self._started.set_result(None)
        elif kind == "lifespan.startup.failed" and not self._started.done():
            self._started.set_exception(
                RuntimeError(
                    f"the application's startup failed: {message.get('message') or 'it gave no reason'}"
                )
            )
        elif kind.startswith("lifespan.shutdown") and not self._stopped.done():
            self._stopped.set_result(None)
