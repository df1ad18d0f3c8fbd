"""Collective operations between CPUs, by PyTorch's gloo."""

from __future__ import annotations

import importlib
import socket
import time
from datetime import timedelta
from typing import Any

from narke.util.collective.collective_group.base_collective_group import BaseGroup
from narke.util.collective.const import get_store_name
from narke.util.collective.types import (
    AllGatherOptions,
    AllReduceOptions,
    Backend,
    BarrierOptions,
    BroadcastOptions,
    RecvOptions,
    ReduceOp,
    ReduceOptions,
    ReduceScatterOptions,
    SendOptions,
    torch_available,
)

__all__ = ["TorchGLOOGroup", "get_address_and_port", "get_master_address_metadata_key"]

_KV_NAMESPACE = b"collective"
_POLL_S = 0.02
_DEFAULT_TIMEOUT_MS = 30000


def _torch_distributed() -> Any:
    try:
        return importlib.import_module("torch.distributed")
    except ImportError as error:
        raise RuntimeError(
            "collective operations on CPUs need PyTorch: install it with `pip install torch`"
        ) from error


def __getattr__(name: str) -> Any:
    if name == "TORCH_REDUCE_OP_MAP":
        return _reduce_ops()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _reduce_ops() -> dict[ReduceOp, Any]:
    ops = _torch_distributed().ReduceOp
    return {
        ReduceOp.SUM: ops.SUM,
        ReduceOp.PRODUCT: ops.PRODUCT,
        ReduceOp.MIN: ops.MIN,
        ReduceOp.MAX: ops.MAX,
    }


def get_master_address_metadata_key(group_name: str) -> str:
    """Return the key under which a group's rank 0 announces its address."""
    return f"{get_store_name(group_name)}:master"


def get_address_and_port() -> tuple[str, int]:
    """Return this host's address and a port that is free now."""
    from narke.util import get_node_ip_address

    with socket.socket() as probe:
        probe.bind(("", 0))
        return get_node_ip_address(), probe.getsockname()[1]


class TorchGLOOGroup(BaseGroup):
    """A group over gloo; rank 0 announces its address in the cluster's key-value store.

    Args:
        world_size: number of members.
        rank: this process's place among them.
        group_name: the group's name.
        gloo_timeout: milliseconds that meeting and each operation may take; None for 30,000.

    Raises:
        RuntimeError: PyTorch is not installed.
        TimeoutError: the members did not meet in time.
    """

    def __init__(self, world_size: int, rank: int, group_name: str, gloo_timeout: int | None = None) -> None:
        super().__init__(world_size, rank, group_name)
        self._distributed = _torch_distributed()
        self._timeout = timedelta(milliseconds=gloo_timeout or _DEFAULT_TIMEOUT_MS)
        host, port = self._meet()
        store = self._distributed.TCPStore(host, port, world_size, is_master=rank == 0, timeout=self._timeout)
        prefixed = self._distributed.PrefixStore(group_name, store)
        self._group = self._distributed.ProcessGroupGloo(prefixed, rank, world_size, self._timeout)

    @classmethod
    def backend(cls) -> str:
        """Return ``GLOO``."""
        return Backend.GLOO

    @classmethod
    def check_backend_availability(cls) -> bool:
        """Return whether PyTorch with gloo is installed."""
        return torch_available() and _torch_distributed().is_gloo_available()

    def destroy_group(self) -> None:
        """Leave the group; rank 0 withdraws its address."""
        from narke._private import kv

        self._group = None
        if self.rank == 0:
            kv.delete(self._key(), namespace=_KV_NAMESPACE)

    def allreduce(self, tensor: Any, allreduce_options: AllReduceOptions | None = None) -> None:
        """Replace the tensor in every process by the reduction of all."""
        options = self._distributed.AllreduceOptions()
        options.reduceOp = self._op(allreduce_options or AllReduceOptions())
        self._wait(self._group.allreduce([_torch(tensor)], options))

    def barrier(self, barrier_options: BarrierOptions | None = None) -> None:
        """Wait until every process has come here."""
        self._wait(self._group.barrier())

    def reduce(self, tensor: Any, reduce_options: ReduceOptions | None = None) -> None:
        """Replace the tensor of the root process by the reduction of all."""
        chosen = reduce_options or ReduceOptions()
        options = self._distributed.ReduceOptions()
        options.reduceOp = self._op(chosen)
        options.rootRank = chosen.root_rank
        # gloo uses the others' tensors as scratch space; theirs are to stay as they are.
        mine = _torch(tensor)
        self._wait(self._group.reduce([mine if self.rank == chosen.root_rank else mine.clone()], options))

    def allgather(
        self, tensor_list: list[Any], tensor: Any, allgather_options: AllGatherOptions | None = None
    ) -> None:
        """Fill a list with every process's tensor."""
        self._wait(self._group.allgather([[_torch(item) for item in tensor_list]], [_torch(tensor)]))

    def broadcast(self, tensor: Any, broadcast_options: BroadcastOptions | None = None) -> None:
        """Replace the tensor in every process by the root's."""
        options = self._distributed.BroadcastOptions()
        options.rootRank = (broadcast_options or BroadcastOptions()).root_rank
        self._wait(self._group.broadcast([_torch(tensor)], options))

    def reducescatter(
        self,
        output_tensor: Any,
        tensor_list: list[Any],
        reducescatter_options: ReduceScatterOptions | None = None,
    ) -> None:
        """Give each process its part of the reduction of all lists."""
        # gloo has no such operation: reduce everything everywhere and keep one part.
        parts = [_torch(item).clone() for item in tensor_list]
        options = self._distributed.AllreduceOptions()
        options.reduceOp = self._op(reducescatter_options or ReduceScatterOptions())
        for part in parts:
            self._wait(self._group.allreduce([part], options))
        _torch(output_tensor).copy_(parts[self.rank])

    def send(self, tensor: Any, send_options: SendOptions) -> None:
        """Send a tensor to one process."""
        self._wait(self._group.send([_torch(tensor)], send_options.dst_rank, 0))

    def recv(self, tensor: Any, recv_options: RecvOptions) -> None:
        """Receive a tensor from one process."""
        self._wait(self._group.recv([_torch(tensor)], recv_options.src_rank, 0))

    def _op(self, options: Any) -> Any:
        return _reduce_ops()[options.reduceOp]

    def _wait(self, work: Any) -> None:
        work.wait(self._timeout)

    def _key(self) -> bytes:
        return get_master_address_metadata_key(self.group_name).encode()

    def _meet(self) -> tuple[str, int]:
        from narke._private import kv

        if self.rank == 0:
            host, port = get_address_and_port()
            kv.put(self._key(), f"{host}:{port}".encode(), overwrite=True, namespace=_KV_NAMESPACE)
            return host, port
        deadline_s = time.monotonic() + self._timeout.total_seconds()
        while time.monotonic() < deadline_s:
            found = kv.get(self._key(), namespace=_KV_NAMESPACE)
            if found:
                host, _, port_text = found.decode().rpartition(":")
                return host, int(port_text)
            time.sleep(_POLL_S)
        raise TimeoutError(
            f"rank {self.rank} of the group {self.group_name!r} did not find rank 0 within {self._timeout}; "
            "every member must call init_collective_group with the same name and world size"
        )


def _torch(tensor: Any) -> Any:
    """A torch tensor that shares memory with the given tensor or numpy array."""
    torch = importlib.import_module("torch")
    if isinstance(tensor, torch.Tensor):
        if tensor.device.type != "cpu":
            raise RuntimeError(
                f"the GLOO backend works on CPU tensors, got one on {tensor.device}; move it first"
            )
        return tensor
    return torch.from_numpy(tensor)
