"""The rarer cases of `get` and `wait`: generators among the arguments, and arguments that are wrong."""

from __future__ import annotations

import threading
import time
from typing import Any

from narke._private import readiness, session
from narke._private.generators import ObjectRefGenerator

__all__ = ["put_owned", "get_other", "wait_other"]


def get_other(refs: Any, timeout: float | None = None) -> Any:
    """`get` of something else than an ObjectRef or a plain list of them.

    Raises:
        ValueError: it is neither a reference nor a list.
        TypeError: a list holds something else than references.
    """
    native = session.native()
    if hasattr(refs, "_get_value"):  # results that know how to be fetched, such as those of graphs
        return refs._get_value(timeout)
    if isinstance(refs, ObjectRefGenerator):
        return refs  # as with Ray: its items are references
    if not isinstance(refs, list):
        raise ValueError(
            f"Invalid type of object refs, {type(refs)}, is given. 'object_refs' must either be an ObjectRef or a list "
            "of ObjectRefs. "
        )
    if any(hasattr(ref, "_get_value") for ref in refs):
        return _get_one_by_one(refs, timeout)
    for ref in refs:
        if not isinstance(ref, native.ObjectRef):
            raise TypeError(f"Attempting to call `get` on the value {ref}, which is not an ray.ObjectRef.")
    return native.get(list(refs), timeout=timeout)


def _get_one_by_one(refs: list[Any], timeout: float | None) -> list[Any]:
    deadline = None if timeout is None else time.monotonic() + timeout
    values = []
    for ref in refs:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        values.append(
            ref._get_value(left) if hasattr(ref, "_get_value") else session.native().get(ref, timeout=left)
        )
    return values


def wait_other(
    ray_waitables: Any, num_returns: int = 1, timeout: float | None = None, fetch_local: bool = True
) -> tuple[list[Any], list[Any]]:
    """`wait` on something else than a plain list of ObjectRefs; see `narke.wait`."""
    native = session.native()
    _check_waitables(native, ray_waitables, num_returns, timeout)
    if not ray_waitables:
        return [], []
    deadline = None if timeout is None else time.monotonic() + timeout
    event = threading.Event()
    tokens: list[int] = []
    try:
        while True:
            event.clear()
            ready = [_is_ready(native, each) for each in ray_waitables]
            if sum(ready) >= num_returns or (deadline is not None and time.monotonic() >= deadline):
                return _split(ray_waitables, ready, num_returns)
            if not tokens:
                readiness.watch_from_thread()
                tokens = [
                    _watch(native, each, event)
                    for each, is_ready in zip(ray_waitables, ready, strict=True)
                    if not is_ready
                ]
            # Short enough to notice signals' handlers, which run between waits.
            event.wait(0.5 if deadline is None else max(0.0, min(0.5, deadline - time.monotonic())))
    finally:
        for token in tokens:
            readiness.forget(token)


def _check_waitables(native: Any, waitables: Any, num_returns: int, timeout: float | None) -> None:
    kinds = (native.ObjectRef, ObjectRefGenerator)
    if isinstance(waitables, kinds):
        raise TypeError(
            "wait() expected a list of ray.ObjectRef or ray.ObjectRefGenerator, got a single ray.ObjectRef or "
            f"ray.ObjectRefGenerator {waitables}"
        )
    if not isinstance(waitables, list):
        raise TypeError(
            f"wait() expected a list of ray.ObjectRef or ray.ObjectRefGenerator, got {type(waitables)}"
        )
    for each in waitables:
        if not isinstance(each, kinds):
            raise TypeError(
                f"wait() expected a list of ray.ObjectRef or ray.ObjectRefGenerator, got list containing {type(each)}"
            )
    if timeout is not None and timeout < 0:
        raise ValueError(f"The 'timeout' argument must be nonnegative. Received {timeout}")
    if not waitables:
        return
    if len({id(each) if isinstance(each, ObjectRefGenerator) else each for each in waitables}) != len(
        waitables
    ):
        raise ValueError("Wait requires a list of unique ray_waitables.")
    if num_returns <= 0:
        raise ValueError(f"Invalid number of objects to return {num_returns}.")
    if num_returns > len(waitables):
        raise ValueError(
            "num_returns cannot be greater than the number of ray_waitables provided to ray.wait."
        )


def _is_ready(native: Any, each: Any) -> bool:
    return each.next_ready() if isinstance(each, ObjectRefGenerator) else bool(native.is_ready(each))


def _watch(native: Any, each: Any, event: threading.Event) -> int:
    if not isinstance(each, ObjectRefGenerator):
        return readiness.call_when_ready(lambda token: native.on_ready(each, token), event.set)

    def register(token: int) -> None:
        if each._stream.on_ready(token):
            readiness.deliver(token)

    return readiness.call_when_ready(register, event.set)


def _split(waitables: list[Any], is_ready: list[bool], num_returns: int) -> tuple[list[Any], list[Any]]:
    ready: list[Any] = []
    rest: list[Any] = []
    for each, done in zip(waitables, is_ready, strict=True):
        (ready if done and len(ready) < num_returns else rest).append(each)
    return ready, rest


def put_owned(value: Any, owner: Any) -> Any:
    """Store a value that lives as long as an actor, whatever becomes of this program.

    Args:
        value: what to store.
        owner: handle of the actor that shall own it; it may be busy meanwhile.

    Returns:
        an ObjectRef that the actor owns.

    Raises:
        TypeError: `owner` is no actor handle.
        narke.exceptions.ActorDiedError: the actor is dead.
    """
    from narke import _native
    from narke.actor import ActorHandle

    if not isinstance(owner, ActorHandle):
        raise TypeError(f"The `_owner` of put must be an actor handle, got {type(owner).__name__}.")
    return _native.put_for(value, owner._actor_id.binary())
