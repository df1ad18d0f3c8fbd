"""What every backend of collective operations offers."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import Any

from narke.util.collective.types import (
    AllGatherOptions,
    AllReduceOptions,
    BarrierOptions,
    BroadcastOptions,
    RecvOptions,
    ReduceOptions,
    ReduceScatterOptions,
    SendOptions,
)

__all__ = ["BaseGroup"]


class BaseGroup(metaclass=ABCMeta):
    """One process's membership in a group.

    Args:
        world_size: number of members.
        rank: this process's place among them, from 0.
        group_name: the group's name.
    """

    def __init__(self, world_size: int, rank: int, group_name: str) -> None:
        self._world_size = world_size
        self._rank = rank
        self._group_name = group_name

    @property
    def rank(self) -> int:
        """This process's place."""
        return self._rank

    @property
    def world_size(self) -> int:
        """Number of members."""
        return self._world_size

    @property
    def group_name(self) -> str:
        """The group's name."""
        return self._group_name

    @classmethod
    @abstractmethod
    def backend(cls) -> str:
        """Return the backend's name."""

    @classmethod
    @abstractmethod
    def check_backend_availability(cls) -> bool:
        """Return whether the backend can be used in this process."""

    def destroy_group(self) -> None:  # noqa: B027 (backends without resources have nothing to do)
        """Leave the group."""

    @abstractmethod
    def allreduce(self, tensor: Any, allreduce_options: AllReduceOptions | None = None) -> None:
        """Replace the tensor in every process by the reduction of all."""

    @abstractmethod
    def barrier(self, barrier_options: BarrierOptions | None = None) -> None:
        """Wait until every process has come here."""

    @abstractmethod
    def reduce(self, tensor: Any, reduce_options: ReduceOptions | None = None) -> None:
        """Replace the tensor of one process by the reduction of all."""

    @abstractmethod
    def allgather(
        self, tensor_list: list[Any], tensor: Any, allgather_options: AllGatherOptions | None = None
    ) -> None:
        """Fill a list with every process's tensor."""

    @abstractmethod
    def broadcast(self, tensor: Any, broadcast_options: BroadcastOptions | None = None) -> None:
        """Replace the tensor in every process by one process's."""

    @abstractmethod
    def reducescatter(
        self,
        tensor: Any,
        tensor_list: list[Any],
        reducescatter_options: ReduceScatterOptions | None = None,
    ) -> None:
        """Give each process its part of the reduction of all lists."""

    @abstractmethod
    def send(self, tensor: Any, send_options: SendOptions) -> None:
        """Send a tensor to one process."""

    @abstractmethod
    def recv(self, tensor: Any, recv_options: RecvOptions) -> None:
        """Receive a tensor from one process."""
