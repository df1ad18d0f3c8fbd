"""Connecting to a cluster of which one port can be reached, and which cannot reach this machine.

The program gets a node of its own that offers nothing and dials that port (src/tunnel); to the program it is a node
like any other. It ends with the program.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from narke._private import sessions_dir

__all__ = ["Outside", "address_of", "grace_s", "start_node"]

_SCHEMES = ("narke://", "ray://")
_DEFAULT_GRACE_S = 30.0
_GRACE_VARIABLES = ("NARKE_CLIENT_RECONNECT_GRACE_PERIOD", "RAY_CLIENT_RECONNECT_GRACE_PERIOD")
_STORE_BYTES = 2 << 30
_STORE_SHARE = 0.3
_LOOPBACK = "127.0.0.1"


class Outside(NamedTuple):
    """A cluster to be reached from outside: ``host:port`` of its head."""

    host_port: str


def address_of(address: str) -> Outside | None:
    """What an address with the scheme ``narke://`` or ``ray://`` names; None for other addresses.

    Raises:
        ValueError: it is not host:port, with a port from 1 to 65535.
    """
    scheme = next((scheme for scheme in _SCHEMES if address.startswith(scheme)), None)
    if scheme is None:
        return None
    plain = address.removeprefix(scheme).rstrip("/")
    host, _, port = plain.rpartition(":")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65_535:
        raise ValueError(f"{address!r} is not of the form {scheme}host:port")
    return Outside(plain)


def grace_s() -> float:
    """How long the line to the cluster may be broken, in seconds: NARKE_CLIENT_RECONNECT_GRACE_PERIOD,
    RAY_CLIENT_RECONNECT_GRACE_PERIOD, or 30.

    Raises:
        ValueError: the variable is not a number, or below 0.
    """
    for name in _GRACE_VARIABLES:
        text = os.environ.get(name)
        if not text:
            continue
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= 3600:
            raise ValueError(f"{name} must be seconds from 0 to 3600, got {text!r}")
        return seconds
    return _DEFAULT_GRACE_S


def start_node(outside: Outside, hidden: dict[str, Any], meanwhile: Any) -> tuple[Any, str]:
    """Start this program's node and have it dial the cluster.

    Args:
        outside: which cluster.
        hidden: the hidden options of `narke.init`: ``_token``, ``_temp_dir``.
        meanwhile: what to do while it dials.

    Returns:
        the node's process, and the folder of its session.

    Raises:
        narke.exceptions.AuthenticationError: the cluster's token is not known here.
        ConnectionError: the cluster cannot be reached, or refuses this program; the text says why.
    """
    from narke._private import machine, node_process

    base = sessions_dir.base_dir(hidden.get("_temp_dir"))
    session_dir = sessions_dir.create_session(base, _token(outside, hidden.get("_token")))
    sessions_dir.write_info(session_dir, outside_of=outside.host_port, ip=_LOOPBACK)
    options = node_process.NodeOptions(
        session_dir,
        {},
        min(_STORE_BYTES, int(machine.memory_bytes() * _STORE_SHARE)),
        address=_LOOPBACK,
        owner_pid=os.getpid(),
        port=0,
        join=outside.host_port,
        grace_ms=int(grace_s() * 1000),
    )
    try:
        return node_process.start_node(options, meanwhile=meanwhile), session_dir
    except RuntimeError as error:
        raise ConnectionError(str(error)) from error


def _token(outside: Outside, given: str | None) -> str:
    from narke._private import gateway_address
    from narke.exceptions import AuthenticationError

    token = given or sessions_dir.given_token() or gateway_address.token_at_home()
    if token is None:
        raise AuthenticationError(
            f"The token of the cluster at {outside.host_port} is not known here: set NARKE_AUTH_TOKEN, or "
            "NARKE_AUTH_TOKEN_PATH to a copy of the file `token` in the head's session folder"
        )
    return token
