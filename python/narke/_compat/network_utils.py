"""Stands for ``ray._common.network_utils``: addresses as text."""

from __future__ import annotations

import socket

__all__ = ["build_address", "find_free_port", "is_ipv6", "is_localhost", "parse_address"]


def build_address(host: str, port: int | str) -> str:
    """``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if is_ipv6(host) else f"{host}:{port}"


def parse_address(address: str) -> tuple[str, str] | None:
    """Host and port of ``host:port``; None where there is no port."""
    host, colon, port = address.rpartition(":")
    if not colon or (is_ipv6(address) and not host.endswith("]")):
        return None
    return host.strip("[]"), port


def is_ipv6(host: str) -> bool:
    """Whether it is an IPv6 address; names are not."""
    try:
        socket.inet_pton(socket.AF_INET6, host.strip("[]"))
    except OSError:
        return False
    return True


def is_localhost(host: str) -> bool:
    """Whether it means this machine's loopback."""
    return host in ("localhost", "127.0.0.1", "::1", "[::1]")


def find_free_port(family: int = socket.AF_INET) -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
