"""Ingresses of former releases that turn a request into one value, and graphs of calls behind a route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.serve.config import import_attr

__all__ = ["DEFAULT_HTTP_ADAPTER", "HTTPAdapterFn", "SimpleSchemaIngress"]

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
