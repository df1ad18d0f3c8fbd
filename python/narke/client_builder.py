"""``client(address).namespace(...).connect()``, the way programs written for the client API connect.

A program here is a driver like any other, near or far, so this only calls `narke.init`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import narke
from narke.util.annotations import Deprecated, PublicAPI

__all__ = ["CLIENT_DOCS_URL", "ClientBuilder", "ClientContext", "client"]

CLIENT_DOCS_URL = "https://docs.ray.io/en/latest/cluster/running-applications/job-submission/ray-client.html"
_SCHEMES = ("ray", "narke")


@PublicAPI
@dataclass
class ClientContext:
    """A connection; leaving its with-block, or `disconnect`, ends it."""

    dashboard_url: str | None
    python_version: str
    ray_version: str
    ray_commit: str
    _num_clients: int = 1
    _context_to_restore: Any = None

    def __enter__(self) -> ClientContext:
        return self

    def __exit__(self, *exc: object) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """Disconnect the program from the cluster."""
        if narke.is_initialized():
            narke.shutdown()


@Deprecated(message="Use narke.init(address=...) instead.")
class ClientBuilder:
    """Collects the settings of a connection.

    Args:
        address: ``host:port``, ``"local"`` for a new cluster, None for a running cluster or else a new one.
    """

    def __init__(self, address: str | None) -> None:
        self.address = address
        self._arguments: dict[str, Any] = {}

    def env(self, env: dict[str, Any]) -> ClientBuilder:
        """Set the runtime environment of the program's tasks and actors."""
        self._arguments["runtime_env"] = env
        return self

    def namespace(self, namespace: str) -> ClientBuilder:
        """Set the namespace of named actors."""
        self._arguments["namespace"] = namespace
        return self

    def connect(self) -> ClientContext:
        """Connect and return the connection.

        Raises:
            ConnectionError: no cluster answers at the address.
        """
        address = self.address
        if address not in (None, "local", "auto") and "://" not in str(address):
            address = f"ray://{address}"  # a client needs no more than that port
        context = narke.init(address=address, **self._arguments)
        return ClientContext(
            dashboard_url=getattr(context, "dashboard_url", None),
            python_version=context.python_version,
            ray_version=context.ray_version,
            ray_commit=context.ray_commit,
        )

    def _init_args(self, **kwargs: Any) -> ClientBuilder:
        """Take over arguments of `narke.init`; builders of other packages override this."""
        self._arguments.update({name: value for name, value in kwargs.items() if value is not None})
        return self


@Deprecated(message="Use narke.init(address=...) instead.")
def client(address: str | None = None, _deprecation_warn_enabled: bool = True) -> ClientBuilder:
    """Return a builder for a connection.

    Args:
        address: as for `ClientBuilder`; ``module://rest`` uses that module's own ``ClientBuilder(rest)``.
        _deprecation_warn_enabled: accepted for programs that pass it.

    Raises:
        RuntimeError: the module of the address does not exist or has no ``ClientBuilder``.
    """
    scheme, separator, rest = (address or "").partition("://")
    if not separator:
        return ClientBuilder(address)
    if scheme in _SCHEMES:
        return ClientBuilder(rest)
    try:
        return importlib.import_module(scheme).ClientBuilder(rest)
    except (ImportError, AttributeError) as error:
        raise RuntimeError(
            f"the address {address!r} names the module {scheme!r} as its way to connect, which cannot be "
            f"used: {error}; "
            "leave the scheme away to connect directly"
        ) from error
