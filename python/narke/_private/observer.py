"""A connection that only asks: for it no job begins, and no worker is started."""

from __future__ import annotations

import contextlib

TYPE_CHECKING = False  # typing is not cheap to import, and `narke status` is to be quick
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["observing"]


@contextlib.contextmanager
def observing(session_dir: str) -> Iterator[dict[str, Any]]:
    """Be connected to a session's node as an observer; gives what the node said.

    Args:
        session_dir: the session's folder, with the node's socket and token in it.

    Raises:
        ConnectionError: nobody listens there, or the token is wrong.
    """
    from narke import _native
    from narke._private import sessions_dir

    socket, token = sessions_dir.socket_path(session_dir), sessions_dir.token_of(session_dir)
    info = _native.connect_driver(socket, token, session_dir, {"observer": True})
    try:
        yield info
    finally:
        _native.disconnect()
