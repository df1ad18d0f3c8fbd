"""Stands for ``ray._private.services``: where this node and its cluster are."""

from __future__ import annotations

from narke._private import machine, session, sessions_dir

__all__ = [
    "canonicalize_bootstrap_address",
    "canonicalize_bootstrap_address_or_die",
    "find_gcs_addresses",
    "get_node_ip_address",
]


def get_node_ip_address(address: str = "8.8.8.8:53") -> str:
    """This node's address as others of the cluster see it.

    Args:
        address: accepted; the address is known without asking the network.
    """
    here = session.current()
    known = here.address_info.get("node_ip_address") if here is not None else None
    return known or machine.own_address()


def find_gcs_addresses() -> set[str]:
    """The addresses of the clusters that run on this machine."""
    alive = [path for path in sessions_dir.sessions(sessions_dir.base_dir()) if sessions_dir.is_alive(path)]
    return {info["address"] for info in map(sessions_dir.read_info, alive) if info.get("address")}


def canonicalize_bootstrap_address(addr: str | None, temp_dir: str | None = None) -> str | None:
    """The address that ``init(addr)`` would join; None when it would start a cluster."""
    if addr not in (None, "auto"):
        return addr
    found = sessions_dir.newest(sessions_dir.base_dir(temp_dir))
    return found and sessions_dir.read_info(found).get("address")


def canonicalize_bootstrap_address_or_die(addr: str | None, temp_dir: str | None = None) -> str:
    """The address of the cluster to join.

    Raises:
        ConnectionError: none runs here.
    """
    found = canonicalize_bootstrap_address(addr, temp_dir)
    if found is None:
        raise ConnectionError("Could not find any running Ray instance; start one with `narke start --head`.")
    return found
