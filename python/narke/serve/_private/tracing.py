"""OpenTelemetry spans of requests, one for each replica that works on one, where a TracingConfig asks for them.

A span's parent is the client's, by W3C's header ``traceparent``, or that of the request whose code made the call.
OpenTelemetry is imported only where traces were asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from narke._private import tracing

__all__ = ["begin", "carrier", "is_on", "parent_of", "settings", "span"]

_HEADER = "traceparent"
_RARELY = 0.01  # the share of requests that is traced where only the environment asks for it
_tracer: Any = None


def settings(config: Any) -> dict[str, Any] | None:
    """What replicas are told; None: nothing is traced.

    Args:
        config: a TracingConfig, its fields, or None: RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH and
            RAY_SERVE_TRACING_SAMPLING_RATIO of this process decide.

    Raises:
        ImportError: OpenTelemetry is not installed.
    """
    from narke.serve.schema import TracingConfig

    if config is None:
        place = os.environ.get("RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH", "")
        share = float(os.environ.get("RAY_SERVE_TRACING_SAMPLING_RATIO", _RARELY))
        config = TracingConfig(enabled=bool(place), exporter_import_path=place, sampling_ratio=share)
    given = TracingConfig.model_validate(config)
    if not given.enabled:
        return None
    tracing.require("opentelemetry.sdk.trace")
    return {"exporter": given.exporter_import_path, "ratio": given.sampling_ratio}


def begin(given: dict[str, Any] | None, name: str) -> None:
    """Record spans in this process from now on.

    Args:
        given: what `settings` gave; None: nothing happens.
        name: of the file below ``serve/spans`` of the session's logs; an exporter of one's own ends up elsewhere.

    Raises:
        TypeError: the exporter gives no span processors.
    """
    global _tracer
    if given is None:
        return
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(given["ratio"]))
    for processor in _processors(given["exporter"], name):
        provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    _tracer = trace.get_tracer(__name__)


def _processors(exporter: str, name: str) -> list[Any]:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

    from narke._private import session
    from narke.serve.config import import_attr

    if exporter:
        found = import_attr(exporter)()
        if not isinstance(found, list) or not all(isinstance(each, SpanProcessor) for each in found):
            raise TypeError(
                f"the tracing exporter {exporter} must give a list of SpanProcessors, got {found!r}"
            )
        return found
    folder = os.path.join(session.connected().info["session_dir"], "logs", "serve", "spans")
    os.makedirs(folder, exist_ok=True)
    out = open(os.path.join(folder, name), "a", encoding="utf-8")  # open as long as the process
    return [SimpleSpanProcessor(ConsoleSpanExporter(out=out, formatter=_line))]


def _line(span_ended: Any) -> str:
    return str(span_ended.to_json(indent=None)) + "\n"


def is_on() -> bool:
    """Whether this process records spans."""
    return _tracer is not None


def carrier() -> str:
    """What a call takes along of the present span, as ``traceparent``; "" where there is none."""
    if _tracer is None:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    found: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(found)
    return found.get(_HEADER, "")


def parent_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The client's ``traceparent``; "" where it sent none."""
    return next((value.decode("latin-1") for name, value in headers if name == _HEADER.encode()), "")


@contextmanager
def span(name: str, parent: str, attributes: dict[str, Any]) -> Iterator[Any]:
    """A span around the block; an exception that leaves the block is recorded in it.

    Args:
        name: what it is called.
        parent: a ``traceparent``, or "".
        attributes: facts about the request.
    """
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({_HEADER: parent} if parent else {})
    with _tracer.start_as_current_span(
        name, context=context, kind=trace.SpanKind.SERVER, attributes=attributes
    ) as made:
        yield made
