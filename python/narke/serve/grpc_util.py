"""What methods of deployments see of the gRPC calls that they answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Generic, TypeVar

__all__ = ["RayServegRPCContext", "gRPCInputStream"]

T = TypeVar("T")


class RayServegRPCContext:
    """A call's facts, and what its method sets for the answer; travels to the replica and back.

    A method gets one if it has a parameter ``grpc_context``. Its methods are those of gRPC's ``ServicerContext``.
    """

    def __init__(self, grpc_context: Any) -> None:
        self._auth_context = dict(grpc_context.auth_context())
        self._invocation_metadata = [(key, value) for key, value in grpc_context.invocation_metadata() or ()]
        self._peer = grpc_context.peer()
        self._peer_identities = grpc_context.peer_identities()
        self._peer_identity_key = grpc_context.peer_identity_key()
        self._trailing_metadata = [(key, value) for key, value in grpc_context.trailing_metadata() or ()]
        self._code: Any = grpc_context.code() or None
        self._details: str | None = grpc_context.details() or None
        self._compression: Any = None

    def _sent(self, name: str) -> str | None:
        found = next((value for key, value in self._invocation_metadata if key == name), None)
        return found.decode() if isinstance(found, bytes) else found

    def application(self) -> str | None:
        """The application that the client named."""
        return self._sent("application")

    def multiplexed_model_id(self) -> str | None:
        """The model that the client asked for."""
        return self._sent("multiplexed_model_id")

    def request_id(self) -> str | None:
        """The id that the client gave the request."""
        return self._sent("request_id")

    def traceparent(self) -> str | None:
        """The client's trace (W3C Trace Context)."""
        return self._sent("traceparent")

    def tracestate(self) -> str | None:
        """What vendors add to the trace (W3C Trace Context)."""
        return self._sent("tracestate")

    def auth_context(self) -> dict[str, Any]:
        """Properties of the client's authentication."""
        return self._auth_context

    def invocation_metadata(self) -> list[tuple[str, Any]]:
        """What the client sent."""
        return self._invocation_metadata

    def peer(self) -> str:
        """The client."""
        return str(self._peer)

    def peer_identities(self) -> Iterable[bytes] | None:
        """Who the client is, if it is authenticated."""
        return self._peer_identities  # type: ignore[no-any-return]

    def peer_identity_key(self) -> str | None:
        """The property that `peer_identities` comes from."""
        return self._peer_identity_key  # type: ignore[no-any-return]

    def code(self) -> Any:
        """The status that was set; None for success."""
        return self._code

    def set_code(self, code: Any) -> None:
        """End the call with this ``grpc.StatusCode``."""
        self._code = code

    def details(self) -> str | None:
        """The text that goes with the status."""
        return self._details

    def set_details(self, details: str) -> None:
        """Send this text with the status."""
        self._details = details

    def trailing_metadata(self) -> list[tuple[str, Any]]:
        """What is sent after the answer."""
        return self._trailing_metadata

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, Any]]) -> None:
        """Send this after the answer."""
        self._trailing_metadata = [(key, value) for key, value in trailing_metadata]

    def set_compression(self, compression: Any) -> None:
        """Compress the answer by this ``grpc.Compression``."""
        self._compression = compression

    def _set_on_grpc_context(self, grpc_context: Any) -> None:
        """Have the call end as its method wished."""
        if self._code is not None:
            grpc_context.set_code(self._code)
        if self._details is not None:
            grpc_context.set_details(self._details)
        if self._trailing_metadata:
            grpc_context.set_trailing_metadata(self._trailing_metadata)
        if self._compression is not None:
            grpc_context.set_compression(self._compression)


class gRPCInputStream(AsyncIterator[T], Generic[T]):
    """The messages of a client that streams them: ``async for message in stream``."""

    def __init__(
        self, request_iterator: AsyncIterator[T], *, cancel_event: asyncio.Event | None = None
    ) -> None:
        self._messages = request_iterator
        self._cancelled = cancel_event or asyncio.Event()
        self._exhausted = False

    def __aiter__(self) -> gRPCInputStream[T]:
        return self

    async def __anext__(self) -> T:
        """The next message.

        Raises:
            StopAsyncIteration: the client has sent its last, or the call is cancelled.
        """
        if self._exhausted or self._cancelled.is_set():
            raise StopAsyncIteration
        try:
            return await self._messages.__anext__()
        except StopAsyncIteration:
            self._exhausted = True
            raise

    def cancel(self) -> None:
        """Take no more messages."""
        self._cancelled.set()

    def is_cancelled(self) -> bool:
        """Whether no more are taken."""
        return self._cancelled.is_set()

    @property
    def is_exhausted(self) -> bool:
        """Whether the client has sent its last."""
        return self._exhausted
