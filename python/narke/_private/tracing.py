"""OpenTelemetry spans of tasks and actor calls, when `init` was given ``_tracing_startup_hook="module:function"``.

The caller makes a span of kind PRODUCER (``module.f ray.remote``), the worker one of kind CONSUMER below it
(``module.f ray.remote_worker``), with Ray's names and attributes. The context travels as the keyword `CONTEXT`.
OpenTelemetry's API is imported only here, and only when traces were asked for.
"""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = [
    "CONTEXT",
    "enable",
    "is_on",
    "require",
    "switch",
    "trace_actor_class",
    "trace_call",
    "trace_function",
    "traced_kwargs",
]

CONTEXT = "_ray_trace_ctx"
_hook: str | None = None


def is_on() -> bool:
    """Whether this process records traces."""
    return _hook is not None


def require(module: str) -> None:
    """Import a module of OpenTelemetry.

    Raises:
        ImportError: it is not installed.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            "traces need OpenTelemetry: pip install opentelemetry-api opentelemetry-sdk"
        ) from error


def enable(hook: str) -> None:
    """Run the hook, which sets up OpenTelemetry in this process, and record traces from now on.

    Raises:
        ValueError: the hook is not written ``module:function``, or does not exist.
        ImportError: OpenTelemetry is not installed.
    """
    global _hook
    from narke.util.tracing.tracing_helper import _import_from_string

    run = _import_from_string(hook)
    require("opentelemetry.trace")
    run()
    is_new, _hook = _hook is None, hook
    if is_new:
        _trace_what_exists()


def switch(hook: str | None) -> None:
    """What `init` does with its option: record traces, or none any more; raises as `enable`."""
    global _hook
    if hook is None:
        _hook = None
    else:
        enable(hook)


def _trace_what_exists() -> None:
    """Remote functions were made when their modules were imported, before anybody asked for traces."""
    from narke.remote_function import RemoteFunction

    for each in gc.get_objects():
        if type(each) is RemoteFunction and "_function" in each.__dict__:
            each.remote = each._make_call(each, each._default_options)


# ---- callers ----


@contextmanager
def _producing(name: str, kind: str) -> Iterator[dict[str, str]]:
    """The span of a call that leaves; gives the context that travels with it."""
    from opentelemetry import propagate, trace

    attributes = {"ray.remote": kind, "ray.function": name, "ray.pid": str(os.getpid()), **_place()}
    tracer = trace.get_tracer(__name__)
    with tracer.start_as_current_span(
        f"{name} ray.remote", kind=trace.SpanKind.PRODUCER, attributes=attributes
    ):
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        yield carrier


def _place() -> dict[str, str]:
    from narke._private import session

    here = session.native().current() if session.current() is not None else {}
    ids = {
        "ray.job_id": "job_id",
        "ray.node_id": "node_id",
        "ray.worker_id": "worker_id",
        "ray.actor_id": "actor_id",
    }
    return {name: here[key].hex() for name, key in ids.items() if here.get(key)}


def trace_call(call: Any, name: str, kind: str, signature: Any) -> Callable[..., Any]:
    """`call` with a span around it.

    Args:
        call: the extension's call object, described without a check of its own.
        name: what the span is called.
        kind: ``"task"`` or ``"actor"``.
        signature: checks the arguments; None when nothing is known of them.
    """

    @functools.wraps(call, updated=())
    def remote(*args: Any, **kwargs: Any) -> Any:
        if not is_on():  # switched off since
            return call(*args, **kwargs)
        if signature is not None:
            signature.check(args, kwargs)
        with _producing(name, kind) as context:
            return call(*args, **kwargs, **{CONTEXT: context})

    return remote


@contextmanager
def traced_kwargs(name: str, kwargs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The keywords of an actor's constructor with the context of a span that lasts as long as the block."""
    if not is_on():
        yield kwargs
        return
    with _producing(name, "actor") as context:
        yield {**kwargs, CONTEXT: context}


# ---- workers ----


@contextmanager
def _consuming(name: str, kind: str, carrier: dict[str, str]) -> Iterator[None]:
    from opentelemetry import context, propagate, trace

    attributes = {"ray.remote": kind, "ray.function": name, "ray.pid": str(os.getpid()), **_place()}
    token = context.attach(propagate.extract(carrier))
    try:
        with trace.get_tracer(__name__).start_as_current_span(
            f"{name} ray.remote_worker", kind=trace.SpanKind.CONSUMER, attributes=attributes
        ):
            yield
    finally:
        context.detach(token)


def trace_function(function: Callable[..., Any], name: str, kind: str = "task") -> Callable[..., Any]:
    """`function` with a span around its run, when its caller sent a context; of the same kind: async, generator."""

    @contextmanager
    def span(kwargs: dict[str, Any]) -> Iterator[None]:
        carrier = kwargs.pop(CONTEXT, None)
        if carrier is None:  # called from inside the program
            yield
            return
        with _consuming(name, kind, carrier):
            yield

    if inspect.isasyncgenfunction(function):

        async def run(*args: Any, **kwargs: Any) -> Any:
            with span(kwargs):
                async for item in function(*args, **kwargs):
                    yield item

    elif inspect.iscoroutinefunction(function):

        async def run(*args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
            with span(kwargs):
                return await function(*args, **kwargs)

    elif inspect.isgeneratorfunction(function):

        def run(*args: Any, **kwargs: Any) -> Any:
            with span(kwargs):
                return (yield from function(*args, **kwargs))

    else:

        def run(*args: Any, **kwargs: Any) -> Any:
            with span(kwargs):
                return function(*args, **kwargs)

    return functools.wraps(function)(run)


def trace_actor_class(cls: type) -> type:
    """The class with a span around each of its own methods, and around ``__init__``; changed in place."""
    for name, member in inspect.getmembers(cls, inspect.isfunction):
        if inspect.isfunction(inspect.getattr_static(cls, name)) and not hasattr(member, "__narke_traced__"):
            traced = trace_function(member, f"{cls.__name__}.{name}", "actor")
            traced.__narke_traced__ = True  # type: ignore[attr-defined]
            setattr(cls, name, traced)
    if cls.__init__ is object.__init__:  # type: ignore[misc]

        def __init__(self: Any, **kwargs: Any) -> None:
            kwargs.pop(CONTEXT, None)

        cls.__init__ = __init__  # type: ignore[misc]
    return cls
