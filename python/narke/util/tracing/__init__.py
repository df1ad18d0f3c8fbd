"""Traces of tasks and actor calls by OpenTelemetry."""

__all__: list[str] = []
