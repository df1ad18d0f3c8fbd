"""Stands for ``ray._private.worker``: this process's connection, and the public functions that are defined there."""

from __future__ import annotations

import types
from typing import Any

from narke._init import init, is_initialized, shutdown
from narke._private import session
from narke._private.context import BaseContext, RayContext
from narke.runtime_context import get_gpu_ids, get_runtime_context

__all__ = [
    "BaseContext",
    "LOCAL_MODE",
    "RayContext",
    "SCRIPT_MODE",
    "WORKER_MODE",
    "Worker",
    "get_gpu_ids",
    "global_worker",
    "init",
    "is_initialized",
    "shutdown",
]

SCRIPT_MODE, WORKER_MODE, LOCAL_MODE = session.SCRIPT_MODE, session.WORKER_MODE, 2
_PUBLIC = ("cancel", "get", "get_actor", "kill", "put", "remote", "wait", "method", "ObjectRef")


class Worker:
    """What can be asked of this process's connection."""

    @property
    def connected(self) -> bool:
        """Whether it is connected to a cluster."""
        return session.current() is not None

    @property
    def mode(self) -> int | None:
        """SCRIPT_MODE in a driver, WORKER_MODE in a worker, None when not connected."""
        here = session.current()
        return None if here is None else here.mode

    @property
    def namespace(self) -> str:
        """Where named actors of this program live."""
        return str(get_runtime_context().namespace)

    @property
    def current_job_id(self) -> Any:
        """The job's id."""
        return get_runtime_context().job_id

    @property
    def current_node_id(self) -> Any:
        """The node's id."""
        return get_runtime_context().node_id

    @property
    def current_task_id(self) -> Any:
        """The running task's id."""
        return get_runtime_context().task_id

    @property
    def actor_id(self) -> Any:
        """The id of the actor this process is; None outside of actors."""
        return get_runtime_context().actor_id

    @property
    def node_ip_address(self) -> str:
        """The node's address."""
        from narke._compat.services import get_node_ip_address

        return get_node_ip_address()

    @property
    def node(self) -> Any:
        """Facts of the cluster: address, address_info, session_name, and others as attributes.

        Raises:
            narke.exceptions.RaySystemError: not connected.
        """
        self.check_connected()
        facts = session.connected().address_info
        name = str(facts.get("session_dir", "")).rpartition("/")[2]
        return types.SimpleNamespace(
            address_info=facts, session_name=name, **{"unique_id": facts.get("node_id"), **facts}
        )

    def check_connected(self) -> None:
        """Do nothing when connected.

        Raises:
            narke.exceptions.RaySystemError: not connected.
        """
        if not self.connected:
            from narke.exceptions import RaySystemError

            raise RaySystemError("Ray has not been started yet. You can start Ray with 'ray.init()'.")


global_worker = Worker()


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import narke

    return getattr(narke, name)
