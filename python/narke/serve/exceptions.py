"""Errors of Serve."""

from __future__ import annotations

from typing import Any

from narke.exceptions import TaskCancelledError

__all__ = [
    "BackPressureError",
    "DeploymentUnavailableError",
    "RayServeException",
    "ReplicaUnavailableError",
    "RequestCancelledError",
    "gRPCStatusError",
]


class RayServeException(Exception):
    """Base of Serve's errors."""


class BackPressureError(RayServeException):
    """A request was dropped: as many as may wait do so already."""

    def __init__(
        self,
        num_queued_requests: int,
        max_queued_requests: int,
        status_code: int = 503,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(num_queued_requests, max_queued_requests, status_code, retry_after_s)
        self.num_queued_requests = num_queued_requests
        self.max_queued_requests = max_queued_requests
        self._status_code = status_code
        self._retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """What happened."""
        return (
            f"Request dropped due to backpressure (num_queued_requests={self.num_queued_requests}, "
            f"max_queued_requests={self.max_queued_requests})."
        )

    @property
    def status_code(self) -> int:
        """HTTP status of the answer."""
        return self._status_code

    @property
    def retry_after_s(self) -> float | None:
        """When the client may try again; None: not told."""
        return self._retry_after_s


class RequestCancelledError(RayServeException, TaskCancelledError):
    """A request was cancelled before it had a result."""

    def __init__(self, request_id: str | None = None) -> None:
        RayServeException.__init__(self, request_id)
        self._request_id = request_id

    def __str__(self) -> str:
        return f"Request {self._request_id} was cancelled." if self._request_id else "Request was cancelled."


class DeploymentUnavailableError(RayServeException):
    """A deployment serves no requests: it failed to deploy, or was deleted."""

    def __init__(self, deployment_id: Any) -> None:
        super().__init__(deployment_id)
        self._deployment_id = deployment_id

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """What happened."""
        return f"{self._deployment_id} is unavailable because it failed to deploy or was deleted."


class ReplicaUnavailableError(RayServeException):
    """The replica that a request was meant for cannot take it."""

    def __init__(self, replica_id: Any) -> None:
        super().__init__(replica_id)
        self._replica_id = replica_id

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """What happened."""
        return f"{self._replica_id} is unavailable."


class gRPCStatusError(RayServeException):
    """An exception together with the gRPC status that answers it."""

    def __init__(
        self, original_exception: BaseException, code: Any = None, details: str | None = None
    ) -> None:
        super().__init__(original_exception, code, details)
        self._original_exception = original_exception
        self._code = code
        self._details = details

    @property
    def original_exception(self) -> BaseException:
        """What was raised."""
        return self._original_exception

    @property
    def grpc_code(self) -> Any:
        """The status code, or None."""
        return self._code

    @property
    def grpc_details(self) -> str | None:
        """The text of the status, or None."""
        return self._details

    def __str__(self) -> str:
        return str(self._original_exception)
