"""Where a cluster's gateway is, and the token that opens it."""

from __future__ import annotations

import contextlib
import os
import urllib.parse

from narke._private import sessions_dir

__all__ = ["find_gateway", "token_at_home"]

_TOKEN_FILE = os.path.join("~", ".ray", "auth_token")


def token_at_home() -> str | None:
    """The token that this user keeps for clusters in ~/.ray/auth_token; None without one."""
    with contextlib.suppress(OSError), open(os.path.expanduser(_TOKEN_FILE), encoding="utf-8") as file:
        return file.read().strip() or None
    return None


def find_gateway(address: str | None) -> tuple[str, str]:
    """The URL of a cluster's gateway and its token.

    Args:
        address: ``http(s)://host:port`` of the gateway; or the cluster's address, a session's folder, "auto" or
            None for a cluster of this machine. RAY_API_SERVER_ADDRESS, NARKE_ADDRESS and RAY_ADDRESS go first, in
            this order.

    Returns:
        the URL without a slash at its end, and the token ("" when none is known).

    Raises:
        ConnectionError: no such cluster runs on this machine, or it has no dashboard.
    """
    wanted = _from_environment() or address
    if wanted and wanted.startswith(("http://", "https://")):
        url = wanted.rstrip("/")
        local = _session_of_url(url)
        return url, (sessions_dir.token_of(local).decode() if local else _known_token())
    session = _session_of(wanted)
    host_and_port = sessions_dir.read_info(session).get("dashboard_url")
    if not host_and_port:
        raise ConnectionError(
            f"The cluster {wanted or 'of this machine'} has no dashboard, so it takes no jobs over HTTP. Start it with "
            "include_dashboard=True, or `narke start --head --include-dashboard=true`."
        )
    return f"http://{host_and_port}", sessions_dir.token_of(session).decode()


def _known_token() -> str:
    return sessions_dir.given_token() or token_at_home() or ""


def _from_environment() -> str | None:
    for name in ("RAY_API_SERVER_ADDRESS", "NARKE_ADDRESS", "RAY_ADDRESS"):
        value = os.environ.get(name)
        if value and value != "local":
            return value
    return None


def _session_of(address: str | None) -> str:
    base = sessions_dir.base_dir()
    found: str | None
    if address in (None, "", "auto"):
        found = _own_session() or sessions_dir.newest(base)
    elif address is not None and os.path.isabs(address):
        found = address if sessions_dir.is_alive(address) else None
    else:
        plain = str(address).removeprefix("ray://").removeprefix("narke://")
        found = sessions_dir.find_by_address(base, plain)
    if found is None:
        raise ConnectionError(
            f"No running cluster of this machine has the address {address!r}; start one with `narke start --head`, or "
            "give the URL of its dashboard."
            if address
            else "No cluster runs here: start one with `narke start --head`, or give the URL of a dashboard."
        )
    return found


def _own_session() -> str | None:
    """The session that this program is connected to."""
    from narke._private import session

    here = session.current()
    return here.address_info.get("session_dir") if here is not None else None


def _session_of_url(url: str) -> str | None:
    """The running session of this machine whose gateway has that URL."""
    parts = urllib.parse.urlsplit(url)
    for path in sessions_dir.sessions(sessions_dir.base_dir()):
        info = sessions_dir.read_info(path)
        if not info.get("dashboard_url") or info.get("dashboard_port") != (parts.port or 80):
            continue
        own_names = {
            "localhost",
            "127.0.0.1",
            "::1",
            info.get("ip"),
            str(info["dashboard_url"]).rpartition(":")[0],
        }
        if parts.hostname in own_names and sessions_dir.is_alive(path):
            return path
    return None
