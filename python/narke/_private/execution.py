"""What the extension asks of Python while it runs tasks: loading code, and turning exceptions into values."""

from __future__ import annotations

import functools
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from typing import Any

from narke._private import tracing
from narke.exceptions import ActorDiedError, AsyncioActorExit, RayError, RayTaskError

__all__ = [
    "ActorExit",
    "apply_lease",
    "bind_special",
    "declared_method",
    "encode_exception",
    "flush_output",
    "load_class",
    "load_function",
    "note_accelerators",
    "raise_error",
    "retry_matches",
    "shut_down_actor",
    "system_error",
]

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_INTERNAL_FILES = os.path.dirname(__file__)


class ActorExit(SystemExit):
    """Leaves the method of an actor that called `exit_actor`; the extension ends the actor when it sees one."""


def load_function(pickled: bytes) -> Callable[..., Any]:
    """The function a submitter exported.

    Raises:
        RuntimeError: it cannot be loaded here; the text says what is missing.
    """
    function = _load(pickled, "function")
    if not tracing.is_on():
        return function
    return tracing.trace_function(function, f"{function.__module__}.{function.__qualname__}")


def load_class(pickled: bytes) -> type:
    """The actor class a submitter exported; raises as `load_function`."""
    cls = _load(pickled, "actor class")
    return tracing.trace_actor_class(cls) if tracing.is_on() else cls


def _load(pickled: bytes, kind: str) -> Any:
    try:
        return pickle.loads(pickled)
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"The remote {kind} failed to import on the worker: {error}. Its module must be importable there: install "
            "it on every node, or send it with runtime_env={'working_dir': ...} or 'py_modules'."
        ) from error


def bind_special(instance: Any, name: str) -> Callable[..., Any]:
    """One of the methods every actor has.

    Args:
        instance: the actor's object.
        name: ``__ray_ready__`` (gives True), ``__ray_call__`` (calls its first argument with the actor and the other
            arguments) or ``__ray_terminate__`` (ends the actor after earlier calls).

    Raises:
        AttributeError: another name.
    """
    if name == "__ray_ready__":
        return lambda: True
    if name == "__ray_call__":
        return lambda function, *args, **kwargs: function(instance, *args, **kwargs)
    if name == "__ray_terminate__":
        return _leave
    raise AttributeError(f"{type(instance).__name__!r} object has no attribute {name!r}")


def declared_method(instance: Any, name: str, found: Any) -> Any:
    """What a call of an actor's method runs: what its class declares, even where the instance has a value of that name.

    Args:
        instance: the actor's object.
        name: the method's name.
        found: what the instance has under that name.
    """
    import inspect  # slow to import, and seldom needed

    try:
        declared = inspect.getattr_static(type(instance), name)
    except AttributeError:
        return found
    if hasattr(type(declared), "__set__"):  # a property comes before what the instance has
        return found
    bind = getattr(type(declared), "__get__", None)
    return declared if bind is None else bind(declared, instance, type(instance))


def shut_down_actor(instance: Any) -> None:
    """Call an actor's own ``__ray_shutdown__`` where it has one. What it raises is printed."""
    method = getattr(type(instance), "__ray_shutdown__", None)
    if method is None:
        return
    try:
        method(instance)
    except Exception:
        traceback.print_exc()


def _leave() -> None:
    raise ActorExit(0)


def raise_exit() -> None:
    """What `exit_actor` does; see there."""
    from narke._private import session

    current = session.native().current() if session.current() else {}
    if not current.get("actor_id"):
        raise TypeError(
            "exit_actor API is called on a non-actor worker. Call this API inside an actor methods if you'd like to "
            "exit the actor gracefully."
        )
    from narke._private import async_actor

    session.native().ask_exit()
    if async_actor.is_running():
        async_actor.exit_soon()  # what asks may be a task of its own, whose exception nobody sees
        raise AsyncioActorExit()
    raise ActorExit(0)


def encode_exception(exc: BaseException, function_name: str, actor_repr: str | None = None) -> bytes:
    """A `RayTaskError` for what user code raised, pickled.

    Args:
        exc: the exception, with its traceback.
        function_name: the function or ``Class.method``.
        actor_repr: ``repr`` of the actor for methods, else None.
    """
    from narke._private.serialization import cloud_pickle

    if os.environ.get("RAY_DEBUG_POST_MORTEM") is not None:
        from narke._private import debugging

        debugging.post_mortem(exc)
    if isinstance(exc, KeyboardInterrupt):
        exc = _cancelled(exc)
    error = task_error(exc, function_name, actor_repr)
    is_init = function_name.endswith(".__init__")
    return cloud_pickle(ActorDiedError.from_task_error(error) if is_init else error)


def encode_init_failure(exc: BaseException, function_name: str) -> bytes:
    """An `ActorDiedError` for what an actor's ``__init__`` raised, pickled.

    Args:
        exc: the exception, with its traceback.
        function_name: ``Class.__init__``.
    """
    from narke._private.serialization import cloud_pickle
    from narke.exceptions import ActorDiedError

    error = task_error(exc, function_name)
    try:
        return cloud_pickle(ActorDiedError(error))
    except Exception as failure:
        error.cause = RayError(f"{type(exc).__name__}: {exc} (the original does not pickle: {failure})")
        return cloud_pickle(ActorDiedError(error))


def _cancelled(exc: BaseException) -> BaseException:
    from narke.exceptions import TaskCancelledError

    cancelled = TaskCancelledError(_current().get("task_id", b"").hex() or None)
    return cancelled.with_traceback(exc.__traceback__)


def _current() -> dict[str, Any]:
    native = sys.modules.get("narke._native")
    return native.current() if native is not None and native.is_connected() else {}


def task_error(exc: BaseException, function_name: str, actor_repr: str | None = None) -> RayTaskError:
    """The `RayTaskError` that tells of an exception.

    A task that fails because a value it waited for is an error passes that error's cause on.
    """
    here = _current()
    actor_id = (here.get("actor_id") or b"").hex() or None
    title = f"{prefix()}::{function_name}"
    ip = _node_ip()
    place = f"pid={os.getpid()}, ip={ip}"
    if actor_id:
        place += f", actor_id={actor_id}" + (f", repr={actor_repr}" if actor_repr else "")
    text = f"\x1b[36m{title}()\x1b[39m ({place})\n{_traceback_text(exc)}"
    cause = exc.cause if isinstance(exc, RayTaskError) else exc
    return RayTaskError(function_name, text, cause, title, os.getpid(), ip, actor_repr, actor_id)


def _node_ip() -> str:
    from narke._private import session

    here = session.current()
    return (here.address_info.get("node_ip_address") if here is not None else None) or "127.0.0.1"


def prefix() -> str:
    """What titles of workers and tasks begin with."""
    return "ray" if os.environ.get("NARKE_AS_RAY") == "1" else "narke"


def _traceback_text(exc: BaseException) -> str:
    report = traceback.TracebackException.from_exception(exc, capture_locals=False)
    for part in _chain(report):
        part.stack = traceback.StackSummary.from_list(
            frame for frame in part.stack if not frame.filename.startswith(_INTERNAL_FILES)
        )
    lines = "".join(report.format()).splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("Traceback (most recent call last)"))


def _chain(report: Any) -> list[Any]:
    found, waiting = [], [report]
    while waiting:
        part = waiting.pop()
        if part is None or part in found:
            continue
        found.append(part)
        waiting += [part.__cause__, part.__context__]
    return found


def raise_error(value: Any) -> BaseException:
    """The exception that `get` raises for a stored error."""
    if isinstance(value, RayTaskError):
        return value.as_instanceof_cause()
    return value


def system_error(kind: str, message: str, **ids: Any) -> bytes:
    """A failure of the engine as a pickled exception.

    Args:
        kind: name of a class of `narke.exceptions`.
        message: what happened.
        ids: the first of them names the object it is about, as bytes or hex.
    """
    from narke._private.serialization import cloud_pickle
    from narke.exceptions import engine_error

    identity = next(iter(ids.values()), "")
    return cloud_pickle(
        engine_error(kind, message, identity.hex() if isinstance(identity, bytes) else identity)
    )


_node_gpus: list[str] = []
_outside: str | None = None  # CUDA_VISIBLE_DEVICES before the first lease
_sets_threads = False  # nobody chose OMP_NUM_THREADS


def note_accelerators() -> bool:
    """Remember what CUDA_VISIBLE_DEVICES means before the first lease changes it; whether there is anything to hide."""
    global _node_gpus, _outside, _sets_threads
    from narke._private import machine

    _node_gpus = machine.gpu_ids()
    _outside = os.environ.get(_VISIBLE)
    _sets_threads = "OMP_NUM_THREADS" not in os.environ
    return bool(_node_gpus) or "CUDA_VISIBLE_DEVICES" in os.environ


def apply_lease(instances: dict[str, list[int]], cpus: int) -> None:
    """Let the code that runs next see the accelerators its lease holds, and its libraries use a thread for each CPU.

    Without accelerators it sees what the node sees, unless RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO hides them all. Nothing
    is changed where RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES asks for that, or OMP_NUM_THREADS was set by somebody.

    Args:
        instances: indices by kind; a kind that is absent is not held.
        cpus: whole CPUs; one at least is counted.
    """
    if _sets_threads:
        os.environ["OMP_NUM_THREADS"] = str(max(cpus, 1))
    if _is_asked("RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"):
        return
    held = instances.get("GPU") or []
    if held or (_node_gpus and _is_asked("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO")):
        os.environ[_VISIBLE] = ",".join(gpu_names(held))
    elif _outside is None:
        os.environ.pop(_VISIBLE, None)
    else:
        os.environ[_VISIBLE] = _outside


def _is_asked(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true")


def gpu_names(indices: list[int]) -> list[str]:
    """The node's own names of GPUs, by index."""
    return [_node_gpus[index] if index < len(_node_gpus) else str(index) for index in indices]


def flush_output() -> None:
    """Write out what Python still holds of this process's output."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # closed, or its reader is gone: nobody is left to be told
            continue


def retry_matches(exc: BaseException, pickled_types: bytes) -> bool:
    """Whether an exception is one of those a task is to be retried on.

    Args:
        exc: what the task raised.
        pickled_types: a pickled tuple of exception types.
    """
    return isinstance(exc, _retry_types(pickled_types))


@functools.lru_cache(maxsize=64)
def _retry_types(pickled: bytes) -> tuple[type[BaseException], ...]:
    return tuple(pickle.loads(pickled))
