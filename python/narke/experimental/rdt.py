"""Tensors that travel between devices past the object store: the interface, and what stands in for it.

The engine moves tensors through shared memory, read in place where they lie on CPUs. Transports of a
program's own are not called by it; registering one, and what belongs to one, says so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NoReturn

from narke.util.annotations import PublicAPI

__all__ = [
    "CommunicatorMetadata",
    "RDTManager",
    "TensorTransportManager",
    "TensorTransportMetadata",
    "deregister_nixl_memory",
    "register_nixl_memory",
    "register_nixl_memory_pool",
    "register_tensor_transport",
    "set_nixl_cuda_stream",
    "set_target_device_for_ref",
    "set_target_for_ref",
    "wait_tensor_freed",
]


def _refuse(entry: str) -> NoReturn:
    raise NotImplementedError(
        f"{entry} is not available: there are no transports between devices. Return the tensor, or put() "
        "it: it "
        "travels through shared memory and is read there without a copy; move it to a device with "
        "tensor.to(...), "
        "and use narke.train with torch.distributed for traffic between GPUs."
    )


@dataclass
class CommunicatorMetadata:
    """What a transport must know of a pair of actors; extend it."""


@dataclass
class TensorTransportMetadata:
    """What a receiver must know of tensors before they come: shape and type of each, and their device."""

    tensor_meta: list[tuple[Any, Any]]
    tensor_device: str | None = None


class TensorTransportManager(ABC):
    """What a transport implements."""

    @abstractmethod
    def tensor_transport_backend(self) -> str:
        """Return the transport's name."""

    @staticmethod
    @abstractmethod
    def is_one_sided() -> bool:
        """Return whether the receiver reads without help of the sender."""

    @staticmethod
    @abstractmethod
    def can_abort_transport() -> bool:
        """Return whether a transfer can be given up."""

    @abstractmethod
    def actor_has_tensor_transport(self, actor: Any) -> bool:
        """Return whether an actor can use the transport."""

    @abstractmethod
    def extract_tensor_transport_metadata(
        self, obj_id: str, rdt_object: list[Any]
    ) -> TensorTransportMetadata:
        """Return what a receiver must know of tensors."""

    @abstractmethod
    def get_communicator_metadata(
        self, src_actor: Any, dst_actor: Any, backend: str | None = None
    ) -> CommunicatorMetadata:
        """Return what the transport must know of a pair of actors."""

    @abstractmethod
    def send_multiple_tensors(
        self,
        tensors: list[Any],
        tensor_transport_metadata: TensorTransportMetadata,
        communicator_metadata: CommunicatorMetadata,
    ) -> None:
        """Send tensors."""

    @abstractmethod
    def recv_multiple_tensors(
        self,
        obj_id: str,
        tensor_transport_metadata: TensorTransportMetadata,
        communicator_metadata: CommunicatorMetadata,
        target_buffers: list[Any] | None = None,
    ) -> list[Any]:
        """Receive tensors."""

    def fetch_multiple_tensors(
        self,
        obj_id: str,
        tensor_transport_metadata: TensorTransportMetadata,
        communicator_metadata: CommunicatorMetadata,
        target_buffers: list[Any] | None = None,
    ) -> Any:
        """Begin to receive tensors; `wait_fetch_complete` gives them."""
        return self.recv_multiple_tensors(
            obj_id, tensor_transport_metadata, communicator_metadata, target_buffers
        )

    def wait_fetch_complete(self, fetch_request: Any, timeout: float = -1) -> list[Any]:
        """Return the tensors of a request that `fetch_multiple_tensors` began."""
        return fetch_request

    @abstractmethod
    def garbage_collect(
        self, obj_id: str, tensor_transport_meta: TensorTransportMetadata, tensors: list[Any]
    ) -> None:
        """Free what belongs to tensors nobody needs."""

    @abstractmethod
    def abort_transport(self, obj_id: str, communicator_metadata: CommunicatorMetadata) -> None:
        """Give a transfer up."""


class RDTManager:
    """Refuses: there are no transports whose transfers could be managed."""

    def __init__(self) -> None:
        _refuse("RDTManager")


@PublicAPI(stability="alpha")
def register_tensor_transport(
    transport_name: str,
    devices: list[str],
    transport_manager_class: type[TensorTransportManager],
    data_type: type,
) -> NoReturn:
    """Raise NotImplementedError: the engine calls no transports of programs."""
    _refuse(f"register_tensor_transport({transport_name!r})")


@PublicAPI(stability="alpha")
def set_target_for_ref(ref: Any, target: Any) -> NoReturn:
    """Raise NotImplementedError: tensors are not received into given buffers."""
    _refuse("set_target_for_ref")


@PublicAPI(stability="alpha")
def set_target_device_for_ref(ref: Any, target_device: str) -> NoReturn:
    """Raise NotImplementedError: tensors are not received on a given device."""
    _refuse("set_target_device_for_ref")


@PublicAPI(stability="alpha")
def wait_tensor_freed(tensor: Any, timeout: float | None = None) -> NoReturn:
    """Raise NotImplementedError: no tensor is held for a transport."""
    _refuse("wait_tensor_freed")


@PublicAPI(stability="alpha")
def register_nixl_memory(tensor: Any) -> NoReturn:
    """Raise NotImplementedError: there is no NIXL transport."""
    _refuse("register_nixl_memory")


@PublicAPI(stability="alpha")
def deregister_nixl_memory(tensor: Any) -> NoReturn:
    """Raise NotImplementedError: there is no NIXL transport."""
    _refuse("deregister_nixl_memory")


@PublicAPI(stability="alpha")
def register_nixl_memory_pool(size: int, device: Any) -> NoReturn:
    """Raise NotImplementedError: there is no NIXL transport."""
    _refuse("register_nixl_memory_pool")


@PublicAPI(stability="alpha")
def set_nixl_cuda_stream(stream: Any) -> NoReturn:
    """Raise NotImplementedError: there is no NIXL transport."""
    _refuse("set_nixl_cuda_stream")
