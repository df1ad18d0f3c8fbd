"""The service ``ray.serve.RayServeAPIService``: its client; needs grpcio."""

from typing import Any

from narke.serve.generated import serve_pb2

__all__ = ["SERVICE", "RayServeAPIServiceStub"]

SERVICE = "ray.serve.RayServeAPIService"


class RayServeAPIServiceStub:
    """Asks a proxy which applications it serves and whether it is well.

    Attributes:
        ListApplications, Healthz: calls that take the request of the same name.
    """

    def __init__(self, channel: Any) -> None:
        messages: Any = serve_pb2
        for method in ("ListApplications", "Healthz"):
            call = channel.unary_unary(
                f"/{SERVICE}/{method}",
                request_serializer=getattr(messages, f"{method}Request").SerializeToString,
                response_deserializer=getattr(messages, f"{method}Response").FromString,
            )
            setattr(self, method, call)
