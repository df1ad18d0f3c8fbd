"""A connection to a port that only another host of the cluster reaches: an actor there carries the bytes.

What it carries goes as calls of actors go: only for those who have the cluster's token, in TLS beyond a host.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["Relay", "connection"]

_PIECE_BYTES = 65536
_OPEN_S = 30.0
_JOIN_S = 5.0


class Relay:
    """The far end, an actor."""

    def __init__(self) -> None:
        # Not asyncio's streams: those forget what has come when the other side resets the connection.
        self._socket = socket.socket()

    async def open(self, host: str, port: int) -> None:
        """Connect.

        Raises:
            OSError: nobody listens there.
        """
        self._socket.setblocking(False)
        await asyncio.get_running_loop().sock_connect(self._socket, (host, port))

    async def read(self) -> bytes:
        """What has come; b"" once the other side has closed."""
        return await asyncio.get_running_loop().sock_recv(self._socket, _PIECE_BYTES)

    async def write(self, data: bytes) -> None:
        """Send; nothing says that nothing more will come."""
        if not data:
            return self._socket.shutdown(socket.SHUT_WR)
        await asyncio.get_running_loop().sock_sendall(self._socket, data)


@contextlib.contextmanager
def connection(session_dir: str, node_id: str, host: str, port: int) -> Iterator[socket.socket]:
    """A socket whose other end is a port of another host.

    Args:
        session_dir: the session of a node of the cluster on this host.
        node_id: the node on whose host the port is.
        host, port: the port, as that host names it.

    Raises:
        OSError: nobody listens there.
    """
    import narke

    narke.init(address=session_dir, log_to_driver=False, configure_logging=False)
    try:
        with carried(node_id, host, port) as near:
            yield near
    finally:
        narke.shutdown()


@contextlib.contextmanager
def carried(node_id: str, host: str, port: int) -> Iterator[socket.socket]:
    """As `connection`, for a process that is connected to the cluster."""
    import narke

    relay = _started(node_id)
    narke.get(relay.open.remote(host, port), timeout=_OPEN_S)
    near, far = socket.socketpair()
    carriers = [
        threading.Thread(target=each, args=[relay, far], daemon=True) for each in (_carry_in, _carry_out)
    ]
    for carrier in carriers:
        carrier.start()
    with near:
        yield near
    for carrier in carriers:
        carrier.join(_JOIN_S)
    far.close()


def _started(node_id: str) -> Any:
    import narke
    from narke.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return narke.remote(Relay).options(num_cpus=0, scheduling_strategy=there).remote()


def _carry_in(relay: Any, far: socket.socket) -> None:
    import narke

    with contextlib.suppress(OSError, narke.exceptions.RayError):
        while data := narke.get(relay.read.remote()):
            far.sendall(data)
    with contextlib.suppress(OSError):
        far.shutdown(socket.SHUT_WR)


def _carry_out(relay: Any, far: socket.socket) -> None:
    import narke

    with contextlib.suppress(OSError, narke.exceptions.RayError):
        while data := far.recv(_PIECE_BYTES):
            narke.get(relay.write.remote(data))
        narke.get(relay.write.remote(b""))
