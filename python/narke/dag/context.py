"""`DAGContext`: limits that hold for graphs of this process."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import ClassVar

__all__ = ["DAGContext"]


def _number(name: str, default: float) -> float:
    return type(default)(os.environ.get(name, default))


DEFAULT_SUBMIT_TIMEOUT_S = int(_number("RAY_CGRAPH_submit_timeout", 10))
DEFAULT_GET_TIMEOUT_S = int(_number("RAY_CGRAPH_get_timeout", 10))
DEFAULT_TEARDOWN_TIMEOUT_S = int(_number("RAY_CGRAPH_teardown_timeout", 30))
DEFAULT_READ_ITERATION_TIMEOUT_S = _number("RAY_CGRAPH_read_iteration_timeout_s", 0.1)
DEFAULT_BUFFER_SIZE_BYTES = int(_number("RAY_CGRAPH_buffer_size_bytes", 1_000_000))
DEFAULT_MAX_INFLIGHT_EXECUTIONS = int(_number("RAY_CGRAPH_max_inflight_executions", 10))
DEFAULT_MAX_BUFFERED_RESULTS = int(_number("RAY_CGRAPH_max_buffered_results", 1000))
DEFAULT_OVERLAP_GPU_COMMUNICATION = bool(int(_number("RAY_CGRAPH_overlap_gpu_communication", 0)))


@dataclass
class DAGContext:
    """Limits of graphs; change them on `get_current()`.

    Attributes:
        submit_timeout: seconds execute() of a compiled graph waits for room.
        get_timeout: seconds get() of its result waits.
        teardown_timeout: seconds its end may take.
        read_iteration_timeout: seconds between looks at several inputs.
        buffer_size_bytes: first size of a channel's buffer.
        max_inflight_executions: most executions not finished yet.
        max_buffered_results: most results not fetched yet.
        overlap_gpu_communication: whether transfers run beside computing.
    """

    submit_timeout: int = DEFAULT_SUBMIT_TIMEOUT_S
    get_timeout: int = DEFAULT_GET_TIMEOUT_S
    teardown_timeout: int = DEFAULT_TEARDOWN_TIMEOUT_S
    read_iteration_timeout: float = DEFAULT_READ_ITERATION_TIMEOUT_S
    buffer_size_bytes: int = DEFAULT_BUFFER_SIZE_BYTES
    max_inflight_executions: int = DEFAULT_MAX_INFLIGHT_EXECUTIONS
    max_buffered_results: int = DEFAULT_MAX_BUFFERED_RESULTS
    overlap_gpu_communication: bool = DEFAULT_OVERLAP_GPU_COMMUNICATION

    _current: ClassVar[DAGContext | None] = None
    _lock: ClassVar[threading.Lock] = threading.Lock()

    @staticmethod
    def get_current() -> DAGContext:
        """The context of this process, made when it is first asked for."""
        with DAGContext._lock:
            if DAGContext._current is None:
                DAGContext._current = DAGContext()
            return DAGContext._current
