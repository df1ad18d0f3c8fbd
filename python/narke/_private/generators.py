"""Generators of references: what calls with ``num_returns="streaming"`` and ``"dynamic"`` return."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from narke._private import session

__all__ = ["DynamicObjectRefGenerator", "ObjectRefGenerator"]


class ObjectRefGenerator:
    """Gives an ObjectRef for each item that a running generator yields, as soon as it yields it.

    Iterate it in a thread (``for``) or in an event loop (``async for``). When the generator raises, the next
    reference holds the error, and then it ends. Dropping it tells the generator to stop.

    Args:
        generator_ref: the extension's stream.
        worker: unused; there for the signature.
    """

    def __init__(self, generator_ref: Any, worker: Any = None) -> None:
        self._stream = generator_ref

    @property
    def _generator_ref(self) -> Any:
        return self._stream.task_ref

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """The next item's reference, waiting for it.

        Raises:
            StopIteration: there is none.
        """
        return self._next_sync()

    def _next_sync(self, timeout_s: float | None = None) -> Any:
        """The next item's reference; a nil reference when it is not there within `timeout_s` seconds."""
        from narke.exceptions import GetTimeoutError

        if timeout_s is not None and timeout_s < 0:
            timeout_s = None
        try:
            ref = self._stream.next_ref(timeout_s)
        except GetTimeoutError:
            return session.native().ObjectRef.nil()
        if ref is None:
            raise StopIteration
        return ref

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        """The next item's reference, without blocking the event loop.

        Raises:
            StopAsyncIteration: there is none.
        """
        return await self._next_async()

    async def _next_async(self, timeout_s: float | None = None) -> Any:
        import asyncio

        if not self._stream.is_ready():
            try:
                await asyncio.wait_for(_Ready(self._stream).wait(), timeout_s)
            except asyncio.TimeoutError:
                return session.native().ObjectRef.nil()
        ref = self._stream.next_ref(None)
        if ref is None:
            raise StopAsyncIteration
        return ref

    def completed(self) -> Any:
        """An ObjectRef that is ready when the generator has ended; `get` on it raises what the generator raised."""
        return self._stream.task_ref

    def next_ready(self) -> bool:
        """Whether the next item, or the end, is there."""
        return bool(self._stream.is_ready())

    def is_finished(self) -> bool:
        """Whether the generator has ended and every item was taken."""
        return bool(self._stream.is_finished())

    def close(self) -> None:
        """Not supported: drop the generator, or cancel its task with `narke.cancel`."""
        raise NotImplementedError("generator.close is not supported: use narke.cancel(generator)")

    def send(self, value: Any) -> Any:
        """Not supported: nothing can be sent into a remote generator."""
        raise NotImplementedError("generator.send is not supported")

    def throw(self, value: Any) -> Any:
        """Not supported: nothing can be thrown into a remote generator."""
        raise NotImplementedError("generator.throw is not supported")

    async def aclose(self) -> None:
        """Not supported: drop the generator, or cancel its task with `narke.cancel`."""
        raise NotImplementedError("generator.aclose is not supported: use narke.cancel(generator)")

    async def asend(self, value: Any) -> Any:
        """Not supported: nothing can be sent into a remote generator."""
        raise NotImplementedError("generator.asend is not supported")

    async def athrow(self, value: Any) -> Any:
        """Not supported: nothing can be thrown into a remote generator."""
        raise NotImplementedError("generator.athrow is not supported")

    def __reduce__(self) -> Any:
        raise TypeError(
            "You cannot return or pass a generator to other task. Serializing a ObjectRefGenerator is not allowed: "
            "pass the references that it gives."
        )


class _Ready:
    """Waits in an event loop until a stream has an item or its end."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def wait(self) -> None:
        await self

    def __await__(self) -> Any:
        from narke._private import async_ref, readiness

        def register(token: int) -> None:
            if self._stream.on_ready(token):  # ready now: the token does not come by itself
                readiness.deliver(token)

        return async_ref.until_ready(register)


class DynamicObjectRefGenerator:
    """The references a call with ``num_returns="dynamic"`` made, once it has ended.

    Args:
        refs: the references.
    """

    def __init__(self, refs: list[Any]) -> None:
        self._refs = refs

    def __iter__(self) -> Iterator[Any]:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)
