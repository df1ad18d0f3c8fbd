"""One HTTP request or WebSocket in a replica: what the proxy sent, as ASGI and Starlette see it, and the answer."""

from __future__ import annotations

import asyncio
import collections
import inspect
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from narke._private import async_actor
from narke.serve._private import tracing, wire

__all__ = ["HttpCall", "encode_json"]

_TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)
_BYTES = ((b"content-type", b"text/plain"),)
_JSON = ((b"content-type", b"application/json"),)
_TEXT_HEAD, _BYTES_HEAD, _JSON_HEAD = (wire.head_of(headers) for headers in (_TEXT, _BYTES, _JSON))
_MOST_REASON_BYTES = 123
_MOST_HELD = 128  # chunks
_MOST_HELD_BYTES = 32 << 10
_HOLD_S = 0.001
_ASGI_VERSIONS = {"version": "3.0", "spec_version": "2.4"}


_ABNORMAL = 1006  # the code of a WebSocket that ended without a close frame (RFC 6455, 7.1.5)


class _NoCall:
    """Stands where a call of the proxy would be answered."""

    @staticmethod
    def finish(value: Any) -> None:
        """Nobody waits for it."""


class HttpCall:
    """A request that the proxy sent and this replica answers.

    Attributes:
        request_id: the id that the client gave, or the proxy.
        app_name: application it was routed to.
        route: prefix that matched.
        is_websocket: whether the client wants a WebSocket.
        model_id: multiplexed model asked for, or "".
        has_started: whether a part of the answer has left.
    """

    __slots__ = (
        "_call",
        "_ended",
        "_feeds",
        "_has_left",
        "_held",
        "_held_bytes",
        "_load",
        "_parts",
        "_pending",
        "_reading",
        "_sent_at",
        "_wake",
        "app_name",
        "has_started",
        "is_websocket",
        "method",
        "model_id",
        "path",
        "request_id",
        "route",
        "status",
    )

    def __init__(self, call: Any, parts: tuple[Any, ...], load: Any) -> None:
        self._call = call
        self._parts = parts
        self._load = load  # () -> int
        self.request_id, self.app_name, self.route, self.is_websocket, self.method, self.path = parts[:6]
        self.model_id = parts[13]
        self.has_started = False
        self.status = 0
        self._ended = False
        self._pending: tuple[int, bytes] | None = None  # a response whose body may be whole
        self._feeds: collections.deque[Any] | None = None
        self._has_left = False  # a WebSocket's client
        self._held: list[bytes] = []  # chunks that leave together when the event loop has nothing more to do
        self._held_bytes = 0
        self._sent_at = 0.0
        self._wake: asyncio.Future[None] | None = None
        self._reading = 0  # 0: the body was not read, 1: reading, 2: all read, 3: disconnect was told

    @property
    def is_streamed(self) -> bool:
        """Whether parts of the body, or messages, come after the request."""
        return self._parts[14] is None

    # ---- the request ----

    def scope(self) -> dict[str, Any]:
        """The ASGI scope. ``root_path`` is the route's prefix."""
        p = self._parts
        scope: dict[str, Any] = {
            "type": "websocket" if self.is_websocket else "http",
            "asgi": _ASGI_VERSIONS,
            "http_version": p[11],
            "scheme": p[12],
            "path": self.path,
            "raw_path": p[6],
            "query_string": p[7],
            "root_path": "" if self.route == "/" else self.route,
            "headers": p[8],
            "client": (p[9], p[10]),
            "server": _server(p[8], p[12]),
            "state": {},
        }
        if self.is_websocket:
            scope["subprotocols"] = _subprotocols(p[8])
        else:
            scope["method"] = self.method
        return scope

    def request(self) -> Any:
        """The request as a Starlette ``Request``; its body is there already unless it is streamed."""
        from narke.serve._private.requests import ServeRequest

        return ServeRequest._of(self)

    def trace_parent(self) -> str:
        """The client's ``traceparent``, or ""."""
        return tracing.parent_of(self._parts[8])

    def body(self) -> bytes | None:
        """The whole body; None when it comes in parts."""
        return self._parts[14]

    def feed(self, kind: int, data: Any, code: int, call: Any) -> None:
        """Take over what the client sent meanwhile; `call` is answered once it is used."""
        if self._feeds is None:
            self._feeds = collections.deque()
        self._feeds.append((kind, data, code, call))
        self._has_left = self._has_left or kind == wire.FEED_DISCONNECT
        self._wake_reader()

    def hang_up(self) -> None:
        """The client of a WebSocket is gone: its handler is told by what it receives, or by what it cannot send."""
        if not self._has_left:
            self.feed(wire.FEED_DISCONNECT, b"", _ABNORMAL, _NoCall)

    def _wake_reader(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _next_feed(self) -> tuple[int, Any, int]:
        while not self._feeds:
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        kind, data, code, call = self._feeds.popleft()
        call.finish(None)
        return kind, data, code

    async def receive(self) -> dict[str, Any]:
        """ASGI's receive."""
        if self.is_websocket:
            return await self._receive_message()
        if self._reading == 0 and not self.is_streamed:
            self._reading = 2
            return {"type": "http.request", "body": self._parts[14], "more_body": False}
        if self._reading == 2:
            await self._until_ended()
            return {"type": "http.disconnect"}
        self._reading = 1
        kind, data, _ = await self._next_feed()
        if kind == wire.FEED_DISCONNECT:
            return {"type": "http.disconnect"}
        is_last = kind == wire.FEED_LAST_BODY
        self._reading = 2 if is_last else 1
        return {"type": "http.request", "body": data, "more_body": not is_last}

    async def _until_ended(self) -> None:
        while not self._ended:  # a disconnect cancels the call instead
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake

    async def _receive_message(self) -> dict[str, Any]:
        if self._reading == 0:
            self._reading = 1
            return {"type": "websocket.connect"}
        kind, data, code = await self._next_feed()
        if kind == wire.FEED_TEXT:
            return {"type": "websocket.receive", "text": data, "bytes": None}
        if kind == wire.FEED_BINARY:
            return {"type": "websocket.receive", "text": None, "bytes": data}
        return {"type": "websocket.disconnect", "code": code, "reason": data.decode("utf-8", "replace")}

    # ---- the answer ----

    async def send(self, message: Any) -> None:
        """ASGI's send."""
        kind = message["type"]
        if kind == "http.response.start":
            self._pending = (
                message["status"],
                wire.head_of((bytes(n), bytes(v)) for n, v in message.get("headers", ())),
            )
        elif kind == "http.response.body":
            await self._send_body(message.get("body", b""), message.get("more_body", False))
        elif kind == "websocket.accept":
            await self._accept(message)
        elif kind == "websocket.send":
            await self._send_message(message)
        elif kind == "websocket.close":
            reason = _close_reason(message.get("reason"))
            self._end(wire.pack(wire.CLOSE, message.get("code") or 1000, 0, b"", reason))
        else:
            raise RuntimeError(f"ASGI messages of type {kind!r} are not known to this server")

    async def _send_body(self, body: bytes, more: bool) -> None:
        body = bytes(body)
        if self._pending is not None:
            status, head = self._pending
            self._pending = None
            if not more:
                return await self.answer(status, head, body)
            self._start(status, head)
        if self._ended:
            return
        if body:
            await self.send_chunk(body)
        if not more:
            self._end(wire.pack(wire.END, 0, self._load()))

    def _start(self, status: int, head: bytes) -> None:
        self.has_started = True
        self.status = status
        self._call.yield_value(wire.pack(wire.START, status, self._load(), head))

    async def send_chunk(self, body: bytes) -> None:
        """A part of the body; waits while the client has enough."""
        if len(body) > _MOST_HELD_BYTES:
            return await self._send_large(body)
        held = self._held
        held.append(body)
        self._held_bytes += len(body)
        if len(held) >= _MOST_HELD or self._held_bytes >= _MOST_HELD_BYTES:
            has_room = self._send_held()
            await (asyncio.sleep(0) if has_room else self._until_room())  # others have their turn, too
        elif time.perf_counter() - self._sent_at > _HOLD_S:
            if not self._send_held():
                await self._until_room()
        elif len(held) == 1:
            async_actor.before_sleep(self._send_held)

    def _send_held(self) -> bool:
        """Send the chunks that are held; whether there is room for more."""
        held = self._held
        if not held or self._ended:
            return True
        self._sent_at = time.perf_counter()
        self._held, self._held_bytes = [], 0
        answer = wire.pack(wire.CHUNK, 0, 0, b"", held[0]) if len(held) == 1 else wire.pack_chunks(held)
        return bool(self._call.yield_value(answer))

    async def _send_large(self, body: bytes) -> None:
        self._send_held()
        for at in range(0, len(body), wire.MOST_BYTES):
            part = body[at : at + wire.MOST_BYTES] if len(body) > wire.MOST_BYTES else body
            if not self._call.yield_value(wire.pack(wire.CHUNK, 0, 0, b"", part)):
                await self._until_room()

    async def _until_room(self) -> None:
        while not self._call.has_room():
            if self._has_left:
                raise OSError("the WebSocket's client has left")
            if self._call.is_stopped():
                raise asyncio.CancelledError("the client is gone")
            await async_actor.until_polled()

    async def _accept(self, message: Any) -> None:
        headers = [(bytes(n), bytes(v)) for n, v in message.get("headers") or ()]
        if message.get("subprotocol"):
            headers.append((b"sec-websocket-protocol", message["subprotocol"].encode("latin-1")))
        self.has_started = True
        self.status = 101
        self._call.yield_value(wire.pack(wire.ACCEPT, 101, self._load(), wire.head_of(headers)))

    async def _send_message(self, message: Any) -> None:
        if self._ended:
            raise RuntimeError("the WebSocket is closed")
        if self._has_left:
            raise OSError("the WebSocket's client has left")
        text = message.get("text")
        kind = wire.TEXT if text is not None else wire.BINARY
        data = text.encode() if text is not None else bytes(message.get("bytes") or b"")
        has_room = True
        for part, piece in wire.parts_of(data):  # at once: those of another message may not come between them
            has_room = bool(self._call.yield_value(wire.pack(kind, part, 0, b"", piece)))
        if not has_room:
            await self._until_room()

    async def answer(self, status: int, head: bytes, body: bytes) -> None:
        """The whole answer. A large body leaves in parts."""
        if len(body) <= wire.MOST_BYTES:
            self.status = status
            self.has_started = True
            return self._end(wire.pack(wire.WHOLE, status, self._load(), head, body))
        if b"content-length" not in head.lower():
            head += b"content-length\0%d\0" % len(body)
        self._start(status, head)
        await self.send_chunk(body)
        self._end(wire.pack(wire.END, 0, self._load()))

    async def answer_with(self, result: Any) -> None:
        """Answer with what a handler returned: a Starlette response, text, bytes, a generator, or JSON."""
        if isinstance(result, str):
            return await self.answer(200, _TEXT_HEAD, result.encode())
        if isinstance(result, bytes):
            return await self.answer(200, _BYTES_HEAD, result)
        if result is None:
            return await self.answer(200, _BYTES_HEAD, b"")
        if _is_response(result):
            return await self._answer_with_response(result)
        if inspect.isasyncgen(result):
            return await self._stream(result)
        if inspect.isgenerator(result):
            return await self._stream(_each(result))
        return await self.answer(200, _JSON_HEAD, encode_json(result))

    async def _answer_with_response(self, response: Any) -> None:
        body = getattr(response, "body", None)
        whole = isinstance(body, bytes) and getattr(response, "background", None) is None
        if whole and type(response).__call__ is _plain_call():
            return await self.answer(response.status_code, wire.head_of(response.raw_headers), body)  # type: ignore[arg-type]
        await response(self.scope(), self.receive, self.send)

    async def _stream(self, items: AsyncIterator[Any]) -> None:
        async for item in items:
            if not self.has_started:
                self._start(200, _TEXT_HEAD if isinstance(item, str) else _BYTES_HEAD)
            if item:
                await self.send_chunk(item.encode() if isinstance(item, str) else bytes(item))
        if not self.has_started:
            self._start(200, _BYTES_HEAD)
        self._end(wire.pack(wire.END, 0, self._load()))

    def accept_parts(self) -> None:
        """Tell the proxy that the request runs, so that the rest of it may come."""
        self._call.yield_value(wire.pack(wire.TAKEN, 0, self._load()))

    def turn_away(self, kind: int) -> None:
        """Refuse: BUSY or LEAVING."""
        self._end(wire.pack(kind, 0, self._load()))

    def fail(self, status: int, text: str) -> None:
        """Answer that it did not work, in a way that is still possible."""
        if self._ended:
            return
        if self.is_websocket and self.has_started:
            self._end(wire.pack(wire.CLOSE, 1011))
        elif self.has_started:
            self._end(wire.pack(wire.FAILED, status, self._load()))
        else:
            self.status = status
            self._end(wire.pack(wire.WHOLE, status, self._load(), _TEXT_HEAD, text.encode()))

    def finish(self) -> None:
        """The handler has returned: nothing may be left open."""
        if self._ended:
            return
        if self.is_websocket and self.has_started:
            self._end(wire.pack(wire.CLOSE, 1000))
        else:
            self.fail(500, "Internal Server Error")

    def _end(self, answer: bytes) -> None:
        if self._ended:
            return
        self._send_held()
        self._ended = True
        self._call.finish(answer)
        self._wake_reader()
        while self._feeds:
            self._feeds.popleft()[3].finish(None)


def _server(headers: list[tuple[bytes, bytes]], scheme: str) -> tuple[str, int]:
    for name, value in headers:
        if name == b"host":
            host, _, port = value.decode("latin-1").rpartition(":")
            if host and port.isdigit():
                return host, int(port)
            return value.decode("latin-1"), 443 if scheme in ("https", "wss") else 80
    return "", 80


def _close_reason(reason: Any) -> bytes:
    """What a close frame can hold of a reason (RFC 6455, 5.5); FastAPI gives a list of errors."""
    text = reason if isinstance(reason, str) else json.dumps(reason) if reason else ""
    return text.encode()[:_MOST_REASON_BYTES].decode("utf-8", "ignore").encode()


def _subprotocols(headers: list[tuple[bytes, bytes]]) -> list[str]:
    found = [value.decode("latin-1") for name, value in headers if name == b"sec-websocket-protocol"]
    return [each.strip() for line in found for each in line.split(",") if each.strip()]


async def _each(items: Iterator[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item
        await asyncio.sleep(0)


_response_types: tuple[type, Any] | None = None


def _starlette() -> tuple[type, Any]:
    global _response_types
    if _response_types is None:
        from starlette.responses import Response

        _response_types = Response, Response.__call__
    return _response_types


def _is_response(value: Any) -> bool:
    return hasattr(value, "raw_headers") and isinstance(value, _starlette()[0])


def _plain_call() -> Any:
    return _starlette()[1]


def encode_json(value: Any) -> bytes:
    """A handler's result as JSON; knows numpy, pydantic, dataclasses, dates, sets, enums and bytes.

    Raises:
        TypeError: something in it has no JSON form.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_json_form)
    return text.encode()


def _json_form(value: Any) -> Any:
    from narke.serve._private.json_forms import json_form

    return json_form(value)
