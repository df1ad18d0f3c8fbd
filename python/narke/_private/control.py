"""Questions and orders about tasks and actors that go through the node."""

from __future__ import annotations

from typing import Any

from narke._private import session
from narke.actor import ActorHandle, ActorInfo

__all__ = ["call", "cancel", "get_actor", "kill", "own_handle"]

_DEFAULT_TIMEOUT_MS = 30_000
_ANSWER_GRACE_MS = 5_000


def cancel(ray_waitable: Any, *, force: bool = False, recursive: bool = True) -> None:
    """Stop a task: one that waits never runs, one that runs gets a KeyboardInterrupt (an async one is cancelled).

    Args:
        ray_waitable: an ObjectRef or ObjectRefGenerator of the task. A finished task is left as it is.
        force: end the worker process instead; not for actor tasks.
        recursive: also cancel what the task has submitted.

    Raises:
        TypeError: something else was given.
        ValueError: `force` for an actor's task.
    """
    native = session.native()
    from narke._private.generators import ObjectRefGenerator

    if isinstance(ray_waitable, ObjectRefGenerator):
        ray_waitable = ray_waitable._generator_ref
    if not isinstance(ray_waitable, native.ObjectRef):
        raise TypeError(
            f"ray.cancel() only supported for object refs or streaming generators. Got: {type(ray_waitable)}."
        )
    native.cancel(ray_waitable, force, recursive)


def kill(actor: Any, *, no_restart: bool = True) -> None:
    """End an actor at once; calls that run or wait fail with `narke.exceptions.ActorDiedError`.

    Args:
        actor: its handle.
        no_restart: False lets it start again if its ``max_restarts`` allows.

    Raises:
        ValueError: something else than a handle was given.
    """
    native = session.native()
    if not isinstance(actor, ActorHandle):
        raise ValueError(
            f"ray.kill() only supported for actors. For tasks, try ray.cancel(). Got: {type(actor)}."
        )
    native.kill_actor(actor._ref, no_restart)


def get_actor(name: str, namespace: str | None = None) -> ActorHandle[Any]:
    """A handle of a named actor; it does not keep the actor alive.

    Args:
        name: its name.
        namespace: where it was named; this program's own by default.

    Raises:
        ValueError: there is none, or the name is empty.
    """
    from narke._private.naming import check_namespace

    if not name:
        raise ValueError("Please supply a non-empty value to get_actor")
    if not isinstance(name, str):
        raise TypeError(f"get_actor takes a name, got {name!r} of {type(name)}")
    check_namespace(namespace)
    here = session.connected()
    place = here.namespace if namespace is None else namespace
    return _handle(call("get_actor", name=name, namespace=place))


def _handle(found: dict[str, Any]) -> ActorHandle[Any]:
    # As with Ray, who looks an actor up does not keep it alive.
    ref = session.native().actor_ref_from_parts(found["actor_id"], b"")
    return ActorHandle(ref, ActorInfo.from_pickled(found["methods"]))


def own_handle() -> ActorHandle[Any]:
    """A handle of the actor this worker is; it does not keep the actor alive.

    Raises:
        RuntimeError: it is none.
    """
    own = session.native().own_actor()
    if own is None:
        raise RuntimeError("This method is only available in an actor.")
    ref, methods = own
    return ActorHandle(ref, ActorInfo.from_pickled(methods))


def call(method: str, timeout_ms: int = _DEFAULT_TIMEOUT_MS, **fields: Any) -> dict[str, Any]:
    """Ask the node for something in words.

    Args:
        method: one of the node's control methods.
        timeout_ms: a method that waits gives up after it; the call itself lasts a little longer at most.
        fields: what the method takes: None, bool, int, float, str, bytes, lists and dicts of these.

    Returns:
        its answer.

    Raises:
        ValueError: the node refuses the fields; the text says why.
        narke.exceptions.RaySystemError: the node does not know the method, or is gone.
    """
    if timeout_ms != _DEFAULT_TIMEOUT_MS:
        fields["timeout_ms"] = timeout_ms
    return session.native().control(method, fields, timeout_ms + _ANSWER_GRACE_MS)


def tell(method: str, **fields: Any) -> None:
    """Ask the node for something without waiting until it is done; later calls of this program find it done.

    Args:
        method: one of the node's control methods, one that can't fail.
        fields: what the method takes.

    Raises:
        narke.exceptions.RaySystemError: this program is connected to no node.
    """
    session.native().tell(method, fields)
