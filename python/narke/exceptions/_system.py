"""Failures of the cluster's own parts."""

from __future__ import annotations

from typing import Any

from narke.exceptions._base import RayError, _text_or


class RaySystemError(RayError):
    """The engine itself failed.

    Args:
        client_exc: the exception or text.
        traceback_str: where it happened, if known.
    """

    def __init__(self, client_exc: Any, traceback_str: str | None = None) -> None:
        super().__init__(client_exc, *([traceback_str] if traceback_str is not None else []))
        self.client_exc = client_exc
        self.traceback_str = traceback_str

    def __str__(self) -> str:
        where = f"\ntraceback: {self.traceback_str}" if self.traceback_str else ""
        return f"System error: {self.client_exc}{where}"


class AuthenticationError(RayError):
    """The token is missing or is not the cluster's.

    Args:
        message: what was refused.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return (
            f"{self.message}. The token of a cluster lies in the file `token` of its session folder; give it in "
            "RAY_AUTH_TOKEN, or name the file in RAY_AUTH_TOKEN_PATH."
        )


class NodeDiedError(RayError):
    """The node that ran the task or held the object is dead.

    Args:
        message: which node, and how it was noticed.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class RpcError(RayError):
    """A call between two processes of the cluster failed.

    Args:
        message: what was called and what came back.
        rpc_code: number of the failure, if there is one.
    """

    def __init__(self, message: str, rpc_code: int | None = None) -> None:
        super().__init__(message, rpc_code)
        self.message = message
        self.rpc_code = rpc_code

    def __str__(self) -> str:
        return self.message


class LocalRayletDiedError(RayError):
    """The node process of this program's machine died."""

    def __str__(self) -> str:
        return _text_or(
            self, "The task's local node process died. node.err in the session's log folder may say why."
        )


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """A streaming generator that ran again gave other items than the first time."""


class RayChannelError(RaySystemError):
    """A channel between two actors failed."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel between two actors had nothing to read or no room in time."""


class RayCgraphCapacityExceeded(RaySystemError):
    """More executions of a compiled graph are in flight than it allows."""


class RayDirectTransportError(RaySystemError):
    """A tensor could not be moved directly between two actors."""
