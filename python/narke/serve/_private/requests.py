"""Starlette requests over what the proxy sent. Imported when the first one is needed."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

__all__ = ["ServeRequest"]


class ServeRequest(Request):
    """A request; pickles with its body, so that it can be passed to other deployments."""

    @classmethod
    def _of(cls, call: Any) -> ServeRequest:
        self = cls(call.scope(), call.receive, call.send)
        body = call.body()
        if body is not None:
            self._body = body
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if not hasattr(self, "_body"):
            raise TypeError(
                "A request whose body comes in parts cannot be passed on before it was read: await request.body() first"
            )
        scope = {name: value for name, value in self.scope.items() if name not in _LOCAL}
        return _rebuild, (scope, self._body)


_LOCAL = (
    "app",
    "router",
    "endpoint",
    "route",
    "state",
    "fastapi_astack",
    "fastapi_inner_astack",
    "fastapi_function_astack",
)


def _rebuild(scope: dict[str, Any], body: bytes) -> ServeRequest:
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    request = ServeRequest({**scope, "state": {}}, receive)
    request._body = body
    return request
