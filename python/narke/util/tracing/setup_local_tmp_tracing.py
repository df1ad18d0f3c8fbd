"""A tracing hook that writes spans to files under the temporary directory."""

from __future__ import annotations

import os
import tempfile
from typing import Any

__all__ = ["setup_tracing"]


def setup_tracing() -> None:
    """Write this process's spans to ``spans/<process id>.json`` in the temporary directory.

    Raises:
        ImportError: OpenTelemetry's SDK is not installed.
    """
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
    except ImportError as error:
        raise ImportError("this tracing hook needs OpenTelemetry: `pip install opentelemetry-sdk`") from error
    folder = os.path.join(tempfile.gettempdir(), "spans")
    os.makedirs(folder, exist_ok=True)
    # Open as long as the process.
    out = open(os.path.join(folder, f"{os.getpid()}.json"), "a", encoding="utf-8")
    trace.set_tracer_provider(TracerProvider())
    provider: Any = trace.get_tracer_provider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=out)))
