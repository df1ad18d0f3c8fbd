"""Small helps for code that runs in replicas."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["get_trace_context"]


def get_trace_context() -> Any:
    """The OpenTelemetry context of the request being served; None where OpenTelemetry is not in use."""
    context = sys.modules.get("opentelemetry.context")
    return None if context is None else context.get_current()
