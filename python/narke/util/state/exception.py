"""What goes wrong when the cluster's state is asked for."""

__all__ = ["DataSourceUnavailable", "RayStateApiException", "ServerUnavailable"]


class RayStateApiException(Exception):
    """The state could not be given; the text says why."""


class ServerUnavailable(RayStateApiException):
    """No cluster answers.

    Args:
        address: where one was expected.
    """

    def __init__(self, address: str | None = None) -> None:
        at = f" at {address}" if address else ""
        super().__init__(
            f"no cluster answers{at}: connect with narke.init(), or give the address of one that runs"
        )


class DataSourceUnavailable(Exception):
    """A part of the cluster, such as a node that died, could not be asked."""
