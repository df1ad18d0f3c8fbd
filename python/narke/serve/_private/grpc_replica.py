"""A gRPC call inside a replica."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import inspect
import logging
from collections.abc import AsyncIterator
from typing import Any

from narke.serve.grpc_util import RayServegRPCContext, gRPCInputStream

__all__ = ["END_OF_INPUT", "Answer", "Input", "run"]

logger = logging.getLogger("ray.serve")
END_OF_INPUT = None  # after a client's last message


@dataclasses.dataclass
class Answer:
    """How a call ended.

    Attributes:
        context: with what the method set.
        message: serialized; None after a stream's items, or with an error.
        error: what went wrong, or None.
    """

    context: RayServegRPCContext
    message: bytes | None = None
    error: str | None = None


class Input:
    """Messages that the proxy hands on; each is acknowledged when the method takes it."""

    def __init__(self) -> None:
        self._arrived: collections.deque[tuple[Any, Any]] = collections.deque()
        self._wake: asyncio.Future[None] | None = None

    def put(self, message: Any, call: Any) -> None:
        """Take over a message; `call` is answered when it is used."""
        self._arrived.append((message, call))
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def messages(self) -> AsyncIterator[Any]:
        """All of them."""
        while True:
            while not self._arrived:
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
            message, call = self._arrived.popleft()
            call.finish(None)
            if message is END_OF_INPUT:
                return
            yield message

    def close(self) -> None:
        """The method has ended: what it did not take is acknowledged."""
        while self._arrived:
            self._arrived.popleft()[1].finish(None)


def _serialized(message: Any, method: str) -> bytes:
    if not hasattr(message, "SerializeToString"):
        raise TypeError(
            f"{method} answers gRPC calls, so it must return protobuf messages; it returned {type(message).__name__}"
        )
    return bytes(message.SerializeToString())


async def run(
    servable: Any, method_name: str, is_stream: bool, args: tuple[Any, ...], inputs: Input | None
) -> AsyncIterator[Any]:
    """Run a method.

    Args:
        args: the message (None when the client streams), whether the client streams, the call's context.
        inputs: the client's messages, when it streams.

    Yields:
        serialized messages if `is_stream`, and an `Answer` at the end.
    """
    message, _, context = args
    given = message if inputs is None else gRPCInputStream(inputs.messages())
    try:
        method = servable.method(method_name)
        kwargs = {"grpc_context": context} if _wants_context(method) else {}
        result = await servable.run(method, (given,), kwargs)
        if is_stream:
            async for item in servable.items(result):
                yield _serialized(item, method_name)
            yield Answer(context)
        else:
            yield Answer(context, _serialized(result, method_name))
    except Exception as error:
        logger.exception("The gRPC method %s failed.", method_name)
        yield Answer(context, error=f"{type(error).__name__}: {error}")


def _wants_context(method: Any) -> bool:
    try:
        return "grpc_context" in inspect.signature(method).parameters
    except (TypeError, ValueError):
        return False
