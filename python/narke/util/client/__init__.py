"""The object ``ray`` of programs that were written against the client API.

A program here always speaks to its cluster directly, near or far; there is no separate client mode.
"""

from __future__ import annotations

from typing import Any

import narke

__all__ = ["RayAPIStub", "num_connected_contexts", "ray"]


class RayAPIStub:
    """Forwards every name to the package itself."""

    def connect(self, *args: Any, **kw_args: Any) -> dict[str, Any]:
        """Connect; arguments as for `narke.util.connect`."""
        from narke.util.client_connect import connect

        return connect(*args, **kw_args)

    def disconnect(self, *args: Any, **kw_args: Any) -> None:
        """Disconnect from the cluster."""
        narke.shutdown()

    def get_context(self) -> RayAPIStub:
        """Return this object: a program has one connection."""
        return self

    def set_context(self, cxt: Any) -> RayAPIStub:
        """Return this object.

        Raises:
            NotImplementedError: another context was given.
        """
        if cxt is not None and cxt is not self:
            raise NotImplementedError(
                "a program has one connection: start another process for another cluster"
            )
        return self

    def is_default(self) -> bool:
        """True: there is no context but the default one."""
        return True

    def is_connected(self, *args: Any, **kwargs: Any) -> bool:
        """True when the program is connected to a cluster."""
        return narke.is_initialized()

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """Connect; arguments as for `narke.init`."""
        return narke.init(*args, **kwargs)

    def shutdown(self, *args: Any, **kwargs: Any) -> None:
        """Disconnect from the cluster."""
        narke.shutdown(*args, **kwargs)

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Make a remote function or actor class; arguments as for `narke.remote`."""
        return narke.remote(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(narke, name)


ray = RayAPIStub()


def num_connected_contexts() -> int:
    """Return the number of connections, 0 or 1."""
    return int(narke.is_initialized())
