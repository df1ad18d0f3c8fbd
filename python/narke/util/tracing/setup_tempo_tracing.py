"""A tracing hook that sends spans to a collector on this host."""

from __future__ import annotations

__all__ = ["setup_tracing"]

_COLLECTOR = "http://localhost:4317"


def setup_tracing() -> None:
    """Send this process's spans to the OTLP collector on port 4317 of this host.

    Raises:
        ImportError: OpenTelemetry's OTLP exporter is not installed.
    """
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ImportError(
            "this tracing hook needs OpenTelemetry: `pip install opentelemetry-exporter-otlp`"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": "narke"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=_COLLECTOR, insecure=True)))
    trace.set_tracer_provider(provider)
