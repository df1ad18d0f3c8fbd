"""Connecting by address with `connect`, as programs written for early releases do."""

from __future__ import annotations

from typing import Any

import narke
from narke.util.annotations import Deprecated

__all__ = ["connect", "disconnect"]


@Deprecated(message="Use narke.init(address=...) instead.")
def connect(
    conn_str: str,
    secure: bool = False,
    metadata: list[tuple[str, str]] | None = None,
    connection_retries: int = 3,
    job_config: Any = None,
    namespace: str | None = None,
    *,
    ignore_version: bool = False,
    _credentials: Any = None,
    ray_init_kwargs: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Connect this program to a cluster.

    Args:
        conn_str: ``host:port``, with or without a scheme.
        secure: has no effect: connections beyond this host are always encrypted.
        metadata: has no effect: nothing is sent in plain headers.
        connection_retries: has no effect: `narke.init` retries until its own deadline.
        job_config: settings of the job.
        namespace: namespace of named actors.
        ignore_version: has no effect: peers agree on a protocol version.
        _credentials: has no effect: the cluster's token authenticates.
        ray_init_kwargs: further arguments of `narke.init`.

    Returns:
        What the connection is to: ``num_clients``, ``python_version``, ``ray_version``, ``ray_commit``.

    Raises:
        RuntimeError: the program is connected already.
    """
    if narke.is_initialized():
        raise RuntimeError(
            "already connected to a cluster: call narke.util.disconnect() before connecting again"
        )
    arguments = dict(ray_init_kwargs or {})
    if namespace is not None:
        arguments["namespace"] = namespace
    if job_config is not None:
        arguments["job_config"] = job_config
    address = conn_str if "://" in conn_str else f"ray://{conn_str}"
    context = narke.init(address=address, **arguments)
    return {
        "num_clients": 1,
        "python_version": context.python_version,
        "ray_version": context.ray_version,
        "ray_commit": context.ray_commit,
    }


@Deprecated(message="Use narke.shutdown() instead.")
def disconnect() -> None:
    """Disconnect this program from its cluster."""
    narke.shutdown()
