"""Collective operations between actors: groups, reductions, gathers and messages of tensors."""

from __future__ import annotations

import importlib
import json
from typing import Any, NoReturn

import narke
from narke.util.collective import types
from narke.util.collective.backend_registry import register_collective_backend, registry
from narke.util.collective.collective_group.base_collective_group import BaseGroup
from narke.util.collective.collective_group.torch_gloo_collective_group import (
    TorchGLOOGroup,
    get_address_and_port,
)
from narke.util.collective.const import get_store_name
from narke.util.collective.types import Backend, ReduceOp

__all__ = [
    "GroupManager",
    "allgather",
    "allgather_multigpu",
    "allreduce",
    "allreduce_multigpu",
    "barrier",
    "broadcast",
    "broadcast_multigpu",
    "create_collective_group",
    "destroy_collective_group",
    "get_address_and_port",
    "get_collective_group_size",
    "get_group_handle",
    "get_rank",
    "gloo_available",
    "init_collective_group",
    "is_backend_available",
    "is_group_initialized",
    "nccl_available",
    "recv",
    "recv_multigpu",
    "reduce",
    "reduce_multigpu",
    "reducescatter",
    "reducescatter_multigpu",
    "register_collective_backend",
    "send",
    "send_multigpu",
    "synchronize",
]

_KV_NAMESPACE = b"collective"
_DEFAULT_TIMEOUT_MS = 30000


class GroupManager:
    """The groups that this process is a member of."""

    def __init__(self) -> None:
        self._groups: dict[str, BaseGroup] = {}

    def create_collective_group(
        self, backend: str, world_size: int, rank: int, group_name: str, gloo_timeout: int | None = None
    ) -> BaseGroup:
        """Join a group.

        Raises:
            RuntimeError: the backend cannot be used here.
        """
        if backend == Backend.NCCL:
            _refuse_gpus("the NCCL backend")
        if backend == Backend.GLOO:
            group: BaseGroup = TorchGLOOGroup(world_size, rank, group_name, gloo_timeout)
        else:
            group = registry.get(backend)(world_size, rank, group_name)
        self._groups[group_name] = group
        return group

    def is_group_exist(self, group_name: str) -> bool:
        """Return whether this process is a member of a group."""
        return group_name in self._groups

    def get_group_by_name(self, group_name: str) -> BaseGroup | None:
        """Return a group, None when this process is no member of it."""
        return self._groups.get(group_name)

    def destroy_collective_group(self, group_name: str) -> None:
        """Leave a group; nothing happens when this process is no member."""
        group = self._groups.pop(group_name, None)
        if group is not None:
            group.destroy_group()


_manager = GroupManager()


def _refuse_gpus(what: str) -> NoReturn:
    raise RuntimeError(
        f"{what} is not available here: use backend='GLOO' for CPU tensors, or torch.distributed with NCCL "
        "inside "
        "of narke.train for GPU tensors"
    )


def nccl_available() -> bool:
    """Return whether groups over NCCL can be made here."""
    return False


def gloo_available() -> bool:
    """Return whether groups over gloo can be made here: PyTorch is installed."""
    return TorchGLOOGroup.check_backend_availability()


def is_backend_available(backend: str) -> bool:
    """Return whether groups over a backend can be made here."""
    if backend.upper() == Backend.GLOO:
        return gloo_available()
    return backend.upper() != Backend.NCCL and registry.check(backend)


def is_group_initialized(group_name: str) -> bool:
    """Return whether this process is a member of a group."""
    return _manager.is_group_exist(group_name)


def init_collective_group(
    world_size: int,
    rank: int,
    backend: str = Backend.NCCL,
    group_name: str = "default",
    gloo_timeout: int = _DEFAULT_TIMEOUT_MS,
) -> None:
    """Join a group from inside of an actor or task.

    Args:
        world_size: number of members.
        rank: this process's place among them, from 0.
        backend: ``"GLOO"`` or a registered backend.
        group_name: the group's name.
        gloo_timeout: milliseconds that meeting and each operation may take.

    Raises:
        ValueError: a number is out of range, or the backend unknown.
        RuntimeError: this process is a member already, or the backend cannot be used here.
    """
    if not group_name:
        raise ValueError("group_name must not be empty")
    if _manager.is_group_exist(group_name):
        raise RuntimeError(f"this process is a member of the group {group_name!r} already")
    if world_size < 1 or not 0 <= rank < world_size:
        raise ValueError(f"rank must lie in 0..world_size-1, got rank {rank} and world_size {world_size}")
    _manager.create_collective_group(Backend(backend), world_size, rank, group_name, gloo_timeout)


def create_collective_group(
    actors: list[Any],
    world_size: int,
    ranks: list[int],
    backend: str = Backend.NCCL,
    group_name: str = "default",
    gloo_timeout: int = _DEFAULT_TIMEOUT_MS,
) -> None:
    """Declare actors a group; each joins with its first operation.

    Args:
        actors: handles of the actors.
        world_size: number of members.
        ranks: each actor's place.
        backend: ``"GLOO"`` or a registered backend.
        group_name: the group's name.
        gloo_timeout: milliseconds that meeting and each operation may take.

    Raises:
        RuntimeError: the group was declared already.
        ValueError: the ranks do not match the actors and the size.
    """
    name = Backend(backend)
    if len(ranks) != len(actors) or sorted(ranks) != list(range(world_size)):
        raise ValueError(
            f"ranks must number the actors from 0 to world_size-1, got {ranks} for {len(actors)} actors "
            f"and world_size {world_size}"
        )
    members = {actor._actor_id.hex(): rank for actor, rank in zip(actors, ranks, strict=True)}
    declared = {"members": members, "backend": name, "world_size": world_size, "timeout_ms": gloo_timeout}
    if _kv().put(
        _declaration_key(group_name), json.dumps(declared).encode(), overwrite=False, namespace=_KV_NAMESPACE
    ):
        raise RuntimeError(
            f"the group {group_name!r} was declared already; destroy it first or choose another name"
        )


def destroy_collective_group(group_name: str = "default") -> None:
    """Leave a group in this process, and withdraw its declaration."""
    _manager.destroy_collective_group(group_name)
    if narke.is_initialized():
        _kv().delete(_declaration_key(group_name), namespace=_KV_NAMESPACE)


def get_rank(group_name: str = "default") -> int:
    """Return this process's place in a group, -1 when it is no member."""
    group = _manager.get_group_by_name(group_name)
    return -1 if group is None else group.rank


def get_collective_group_size(group_name: str = "default") -> int:
    """Return the number of a group's members, -1 when this process is none."""
    group = _manager.get_group_by_name(group_name)
    return -1 if group is None else group.world_size


def get_group_handle(group_name: str = "default") -> BaseGroup:
    """Return this process's membership; joins a group that was declared for this actor.

    Raises:
        RuntimeError: this process is no member.
    """
    group = _manager.get_group_by_name(group_name)
    return group if group is not None else _join_declared(group_name)


def _join_declared(group_name: str) -> BaseGroup:
    declared = None
    if narke.is_initialized():
        declared = _kv().get(_declaration_key(group_name), namespace=_KV_NAMESPACE)
    if declared is None:
        raise RuntimeError(
            f"the collective group {group_name!r} is not initialized in this process: call "
            "init_collective_group "
            "here, or create_collective_group in the driver"
        )
    group = json.loads(declared)
    actor_id = narke.get_runtime_context().get_actor_id()
    if actor_id not in group["members"]:
        raise RuntimeError(f"this process is no member of the collective group {group_name!r}")
    rank = group["members"][actor_id]
    return _manager.create_collective_group(
        group["backend"], group["world_size"], rank, group_name, group["timeout_ms"]
    )


def _declaration_key(group_name: str) -> bytes:
    return f"{get_store_name(group_name)}:members".encode()


def _kv() -> Any:
    from narke._private import kv

    return kv


def allreduce(tensor: Any, group_name: str = "default", op: ReduceOp = ReduceOp.SUM) -> None:
    """Replace the tensor in every process of a group by the reduction of all."""
    get_group_handle(group_name).allreduce(tensor, types.AllReduceOptions(reduceOp=op))


def barrier(group_name: str = "default") -> None:
    """Wait until every process of a group has come here."""
    get_group_handle(group_name).barrier()


def reduce(tensor: Any, dst_rank: int = 0, group_name: str = "default", op: ReduceOp = ReduceOp.SUM) -> None:
    """Replace the tensor of the process `dst_rank` by the reduction of all."""
    group = _with_peer(group_name, dst_rank)
    group.reduce(tensor, types.ReduceOptions(reduceOp=op, root_rank=dst_rank))


def broadcast(tensor: Any, src_rank: int = 0, group_name: str = "default") -> None:
    """Replace the tensor in every process by that of the process `src_rank`."""
    _with_peer(group_name, src_rank).broadcast(tensor, types.BroadcastOptions(root_rank=src_rank))


def allgather(tensor_list: list[Any], tensor: Any, group_name: str = "default") -> None:
    """Fill a list of tensors with those of all processes.

    Raises:
        RuntimeError: the list's length is not the group's size.
    """
    group = get_group_handle(group_name)
    _check_length(tensor_list, group)
    group.allgather(tensor_list, tensor, types.AllGatherOptions())


def reducescatter(
    tensor: Any, tensor_list: list[Any], group_name: str = "default", op: ReduceOp = ReduceOp.SUM
) -> None:
    """Put into `tensor` this process's part of the reduction of all lists.

    Raises:
        RuntimeError: the list's length is not the group's size.
    """
    group = get_group_handle(group_name)
    _check_length(tensor_list, group)
    group.reducescatter(tensor, tensor_list, types.ReduceScatterOptions(reduceOp=op))


def send(tensor: Any, dst_rank: int, group_name: str = "default") -> None:
    """Send a tensor to the process `dst_rank`.

    Raises:
        RuntimeError: that is this process.
    """
    group = _with_peer(group_name, dst_rank)
    if group.rank == dst_rank:
        raise RuntimeError(f"The destination rank {dst_rank} is self: a process cannot send to itself")
    group.send(tensor, types.SendOptions(dst_rank=dst_rank))


def recv(tensor: Any, src_rank: int, group_name: str = "default") -> None:
    """Receive a tensor from the process `src_rank`.

    Raises:
        RuntimeError: that is this process.
    """
    group = _with_peer(group_name, src_rank)
    if group.rank == src_rank:
        raise RuntimeError(f"The source rank {src_rank} is self: a process cannot receive from itself")
    group.recv(tensor, types.RecvOptions(src_rank=src_rank))


def _with_peer(group_name: str, rank: int) -> BaseGroup:
    group = get_group_handle(group_name)
    if not 0 <= rank < group.world_size:
        raise ValueError(f"rank {rank} is not in the group {group_name!r} of {group.world_size} processes")
    return group


def _check_length(tensor_list: list[Any], group: BaseGroup) -> None:
    if not isinstance(tensor_list, list) or len(tensor_list) != group.world_size:
        raise RuntimeError(
            f"The length of the tensor list must be the group's size, {group.world_size}: got {tensor_list!r}"
        )


def allreduce_multigpu(
    tensor_list: list[Any], group_name: str = "default", op: ReduceOp = ReduceOp.SUM
) -> NoReturn:
    """Raise RuntimeError: there are no groups over several GPUs of a process."""
    _refuse_gpus("allreduce_multigpu")


def reduce_multigpu(
    tensor_list: list[Any],
    dst_rank: int = 0,
    dst_tensor: int = 0,
    group_name: str = "default",
    op: ReduceOp = ReduceOp.SUM,
) -> NoReturn:
    """Raise RuntimeError: there are no groups over several GPUs of a process."""
    _refuse_gpus("reduce_multigpu")


def broadcast_multigpu(
    tensor_list: list[Any], src_rank: int = 0, src_tensor: int = 0, group_name: str = "default"
) -> NoReturn:
    """Raise RuntimeError: there are no groups over several GPUs of a process."""
    _refuse_gpus("broadcast_multigpu")


def allgather_multigpu(
    output_tensor_lists: list[list[Any]], input_tensor_list: list[Any], group_name: str = "default"
) -> NoReturn:
    """Raise RuntimeError: there are no groups over several GPUs of a process."""
    _refuse_gpus("allgather_multigpu")


def reducescatter_multigpu(
    output_tensor_list: list[Any],
    input_tensor_lists: list[list[Any]],
    group_name: str = "default",
    op: ReduceOp = ReduceOp.SUM,
) -> NoReturn:
    """Raise RuntimeError: there are no groups over several GPUs of a process."""
    _refuse_gpus("reducescatter_multigpu")


def send_multigpu(
    tensor: Any, dst_rank: int, dst_gpu_index: int, group_name: str = "default", n_elements: int = 0
) -> NoReturn:
    """Raise RuntimeError: there are no groups over several GPUs of a process."""
    _refuse_gpus("send_multigpu")


def recv_multigpu(
    tensor: Any, src_rank: int, src_gpu_index: int, group_name: str = "default", n_elements: int = 0
) -> NoReturn:
    """Raise RuntimeError: there are no groups over several GPUs of a process."""
    _refuse_gpus("recv_multigpu")


def synchronize(gpu_id: int) -> None:
    """Wait until a GPU has done what it was given.

    Raises:
        RuntimeError: PyTorch with CUDA is not installed.
    """
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise RuntimeError("synchronize needs PyTorch with CUDA") from error
    torch.cuda.synchronize(gpu_id)
