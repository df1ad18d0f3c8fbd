"""`Cluster`: several nodes on this machine, for tests of programs that need more than one."""

from __future__ import annotations

import os
import time
from typing import Any

import narke
from narke._private import init_options, machine, node_process, sessions_dir

__all__ = ["Cluster"]

_IP = "127.0.0.1"
_WAIT_S = 30.0
_CHECK_S = 0.02
_STORE_BYTES = 256 << 20


class ClusterNode:
    """One node of a `Cluster`.

    Attributes:
        address: ``host:port`` of the cluster.
        unique_id: hex id of the node.
        process: its process.
        session_dir: its folder.
    """

    def __init__(
        self, process: node_process.NodeProcess, session_dir: str, address: str, unique_id: str
    ) -> None:
        self.process = process
        self.session_dir = session_dir
        self.address = address
        self.unique_id = unique_id

    @property
    def node_id(self) -> str:
        """Hex id of the node."""
        return self.unique_id

    def kill(self) -> None:
        """End the node as a crash would (SIGKILL)."""
        self.process.process.kill()
        self.process.process.wait()

    def stop(self) -> None:
        """Ask the node to end, and wait for it."""
        self.process.stop(wait=True)


class Cluster:
    """Starts nodes as processes of this machine, each with resources, workers and an object store of its own.

    Args:
        initialize_head: start the first node at once.
        connect: connect this program to the cluster (`narke.init`) when the head is there.
        head_node_args: as for `add_node`, for the head.
        shutdown_at_exit: end the nodes with this program.
    """

    def __init__(
        self,
        initialize_head: bool = False,
        connect: bool = False,
        head_node_args: dict[str, Any] | None = None,
        shutdown_at_exit: bool = True,
    ) -> None:
        if connect and not initialize_head:
            raise RuntimeError("Cannot connect to uninitialized cluster.")
        if head_node_args and not initialize_head:
            raise ValueError("Cannot pass head node args without initializing head.")
        self.head_node: ClusterNode | None = None
        self.worker_nodes: list[ClusterNode] = []
        self.connected = False
        self._owner_pid = os.getpid() if shutdown_at_exit else None
        self._token = sessions_dir.given_token() or os.urandom(32).hex()
        if initialize_head:
            self.add_node(**(head_node_args or {}))
            if connect:
                self.connect()

    @property
    def address(self) -> str:
        """``host:port`` of the head.

        Raises:
            RuntimeError: there is no node yet.
        """
        if self.head_node is None:
            raise RuntimeError("This cluster has no node yet; add_node() starts the first.")
        return self.head_node.address

    gcs_address = address

    def connect(self, namespace: str | None = None) -> None:
        """Connect this program to the cluster."""
        narke.init(address=self.address, namespace=namespace)
        self.connected = True

    def add_node(
        self,
        wait: bool = True,
        *,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: float | None = None,
        resources: dict[str, float] | None = None,
        labels: dict[str, str] | None = None,
        object_store_memory: int | None = None,
        object_spilling_directory: str | None = None,
        _system_config: dict[str, Any] | None = None,
        **ignored: Any,
    ) -> ClusterNode:
        """Start a node: the head if it is the first, else one that joins it.

        Args:
            wait: return only when the cluster counts it; a node has always joined when this returns.
            num_cpus: CPUs it offers; 1 by default.
            num_gpus: GPUs it offers; none by default.
            memory: bytes of memory it offers.
            resources: further resources by name.
            labels: its labels.
            object_store_memory: bytes of its object store; 256 MiB by default.
            object_spilling_directory: a folder or URI where objects go when its memory is short.
            _system_config: its ``object_spilling_config`` says the same, see `narke.init`; the rest is accepted.
            ignored: accepted for programs written for other versions (``dashboard_port``...).

        Returns:
            the node.

        Raises:
            ValueError: an amount is wrong; it is named.
            RuntimeError: the node did not start.
        """
        shape = init_options.node_shape(
            num_cpus=1 if num_cpus is None else num_cpus,
            num_gpus=num_gpus or 0,
            resources=resources,
            labels=labels,
            object_store_memory=object_store_memory or _STORE_BYTES,
            memory=memory,
            ip=_IP,
            is_head=self.head_node is None,
        )
        session_dir = sessions_dir.create_session(sessions_dir.base_dir(), self._token)
        join = None if self.head_node is None else self.head_node.address
        port = machine.free_port(_IP) if join is None else 0
        address = sessions_dir.publish(session_dir, _IP, port) if join is None else join
        if join is not None:
            sessions_dir.write_info(session_dir, address=f"{join}/member", ip=_IP)
        process = node_process.start_node(
            node_process.NodeOptions(
                session_dir,
                shape.resources,
                shape.object_store_bytes,
                shape.labels,
                address=_IP,
                owner_pid=self._owner_pid,
                port=port,
                join=join,
                **init_options.spill_options(
                    {
                        "object_spilling_directory": object_spilling_directory,
                        "_system_config": _system_config,
                    },
                    session_dir,
                ),
            )
        )
        node = ClusterNode(process, session_dir, address, _node_id(session_dir))
        if self.head_node is None:
            self.head_node = node
        else:
            self.worker_nodes.append(node)
        return node

    def remove_node(self, node: ClusterNode, allow_graceful: bool = True) -> None:
        """End a node.

        Args:
            node: which one.
            allow_graceful: ask it; its work and objects may then go to other nodes, which takes seconds at most.
                Otherwise it is killed as by a crash.
        """
        if allow_graceful:
            node.stop()
        else:
            node.kill()
        if node is self.head_node:
            sessions_dir.remove_address(node.session_dir)
            self.head_node = None
        else:
            self.worker_nodes.remove(node)

    def list_all_nodes(self) -> list[ClusterNode]:
        """The nodes there are, the head first."""
        return ([self.head_node] if self.head_node else []) + self.worker_nodes

    def wait_for_nodes(self, timeout: float = _WAIT_S) -> None:
        """Wait until the cluster counts as many living nodes as were started and not removed.

        Raises:
            TimeoutError: it does not within `timeout` seconds.
        """
        wanted = len(self.list_all_nodes())
        deadline = time.monotonic() + timeout
        while self._alive() != wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"After {timeout} seconds the cluster counts {self._alive()} nodes, but {wanted} were started."
                )
            time.sleep(_CHECK_S)

    def _alive(self) -> int:
        if not narke.is_initialized():  # add_node() has waited for each: what runs has joined
            return sum(1 for node in self.list_all_nodes() if node.process.process.poll() is None)
        return sum(1 for node in narke.nodes() if node["Alive"])

    def remaining_processes_alive(self) -> bool:
        """Whether the process of every node still runs."""
        return all(node.process.process.poll() is None for node in self.list_all_nodes())

    def shutdown(self) -> None:
        """End all nodes at once. A program connected by `connect` is to be disconnected first."""
        for node in self.list_all_nodes():
            node.process.stop(wait=False)  # without their head, the others have nobody to leave their work to
        for node in list(self.worker_nodes):
            self.remove_node(node)
        if self.head_node is not None:
            self.remove_node(self.head_node)


def _node_id(session_dir: str) -> str:
    """The hex id that the node wrote down when it began."""
    with open(os.path.join(session_dir, "node_id"), encoding="ascii") as file:
        return file.read().strip()
