"""What a program may want to know of the host it runs on."""

from __future__ import annotations

import os
import socket

__all__ = ["get_node_instance_id", "get_node_ip_address"]

_PROBE_ADDRESS = "8.8.8.8:53"


def get_node_ip_address(address: str | None = None) -> str:
    """Return the address under which other hosts reach this one.

    Args:
        address: a ``host:port`` to look from; None for the present cluster's, or else a public one. Nothing
            is sent.
    """
    import narke
    from narke._private import state
    from narke.runtime_context import get_runtime_context

    if address is None and narke.is_initialized():
        node_id = get_runtime_context().get_node_id()
        for node in state.nodes():
            if node["NodeID"] == node_id:
                return node["NodeManagerAddress"]
    return _address_towards(address or _PROBE_ADDRESS)


def _address_towards(address: str) -> str:
    """The local address of a route; loopback when there is none."""
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, int(port)))
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def get_node_instance_id() -> str:
    """Return the cloud's id of this machine, empty where none was given to the node."""
    return os.environ.get("RAY_CLOUD_INSTANCE_ID", "")
