"""Ingresses of former releases that turn a request into one value, and graphs of calls behind a route."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from narke.serve._private.graph import evaluate
from narke.serve.api import deployment
from narke.serve.config import import_attr

__all__ = ["DEFAULT_HTTP_ADAPTER", "DAGDriver", "HTTPAdapterFn", "SimpleSchemaIngress"]

DEFAULT_HTTP_ADAPTER = "ray.serve.http_adapters.starlette_request"
HTTPAdapterFn = Callable[[Any], Any]


def load_adapter(adapter: str | Callable[..., Any] | type | None) -> Callable[..., Any]:
    """The function that an adapter stands for: itself, an import path, or a pydantic model the body is read as."""
    if adapter is None:
        adapter = DEFAULT_HTTP_ADAPTER
    if isinstance(adapter, str):
        adapter = import_attr(adapter)
    if isinstance(adapter, type):
        model = adapter

        def read(inp: Any) -> Any:
            return inp

        read.__annotations__["inp"] = model
        return read
    if not callable(adapter):
        raise ValueError(
            f"http_adapter must be a function, an import path or a pydantic model, got {adapter!r}"
        )
    return adapter


class SimpleSchemaIngress:
    """Answers GET and POST with what `predict` makes of the adapter's value."""

    __serve_asgi__ = True
    __serve_builds_app__ = True

    def __init__(self, http_adapter: str | Callable[..., Any] | type | None = None) -> None:
        from fastapi import Depends, FastAPI

        self.app = FastAPI()
        dependency: Any = Depends(load_adapter(http_adapter))

        async def handle(inp: Any = dependency) -> Any:
            return await self.predict(inp)

        self.app.get("/")(handle)
        self.app.post("/")(handle)

    def _serve_build_app(self) -> Any:
        return self.app

    async def predict(self, inp: Any) -> Any:
        """The answer for one value; for subclasses."""
        raise NotImplementedError


@deployment(name="DAGDriver")
class DAGDriver:
    """Makes the calls of a graph for each request, or of one of several graphs by the request's path."""

    __serve_asgi__ = True
    __serve_builds_app__ = True

    def __init__(self, dags: Any, http_adapter: str | Callable[..., Any] | type | None = None) -> None:
        from fastapi import Depends, FastAPI

        self._graphs = dags if isinstance(dags, dict) else {"/": dags}
        self._app = FastAPI()
        dependency: Any = Depends(load_adapter(http_adapter))
        for path in self._graphs:

            async def handle(inp: Any = dependency, path: str = path) -> Any:
                return await self.predict_with_route(path, inp)

            handle.__signature__ = _without(handle, "path")  # type: ignore[attr-defined]
            self._app.get(path)(handle)
            self._app.post(path)(handle)

    def _serve_build_app(self) -> Any:
        return self._app

    async def predict(self, *args: Any, _ray_cache_refs: bool = False, **kwargs: Any) -> Any:
        """The result of the one graph for an input."""
        return await self.predict_with_route(next(iter(self._graphs)), *args, **kwargs)

    async def predict_with_route(self, route_path: str, *args: Any, **kwargs: Any) -> Any:
        """The result of the graph at a path.

        Raises:
            ValueError: there is none.
        """
        if route_path not in self._graphs:
            raise ValueError(f"There is no graph at {route_path!r}; there are {sorted(self._graphs)}.")
        whole = len(args) == 1 and not kwargs
        given = args[0] if whole else kwargs or list(args)
        return await evaluate(self._graphs[route_path], given, {})


def _without(function: Callable[..., Any], name: str) -> inspect.Signature:
    signature = inspect.signature(function)
    return signature.replace(parameters=[p for p in signature.parameters.values() if p.name != name])
