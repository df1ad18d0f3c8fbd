"""Backends, reductions and options of collective operations."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from enum import Enum

__all__ = [
    "AllGatherOptions",
    "AllReduceOptions",
    "Backend",
    "BarrierOptions",
    "BroadcastOptions",
    "RecvOptions",
    "ReduceOp",
    "ReduceOptions",
    "ReduceScatterOptions",
    "SendOptions",
    "cupy_available",
    "torch_available",
]

_DEFAULT_TIMEOUT_MS = 30000


def torch_available() -> bool:
    """Return whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def cupy_available() -> bool:
    """Return whether CuPy is installed."""
    return importlib.util.find_spec("cupy") is not None


class Backend(str):
    """A backend's name in capitals; ``Backend(name)`` checks it.

    Raises:
        ValueError: no backend is called so.
    """

    NCCL = "NCCL"
    GLOO = "GLOO"
    UNRECOGNIZED = "unrecognized"

    def __new__(cls, name: str) -> Backend:
        from narke.util.collective.backend_registry import registry

        upper = {"TORCH_GLOO": cls.GLOO}.get(name.upper(), name.upper())
        if upper not in (cls.NCCL, cls.GLOO) and not registry.is_registered(upper):
            raise ValueError(
                f"Unrecognized backend: {name!r}. Only NCCL, GLOO and registered ones are supported"
            )
        return str.__new__(cls, upper)


class ReduceOp(Enum):
    """How the values of all processes become one."""

    SUM = 0
    PRODUCT = 1
    MIN = 2
    MAX = 3


@dataclass
class AllReduceOptions:
    """Options of allreduce."""

    reduceOp: ReduceOp = ReduceOp.SUM
    timeout_ms: int = _DEFAULT_TIMEOUT_MS


@dataclass
class BarrierOptions:
    """Options of barrier."""

    timeout_ms: int = _DEFAULT_TIMEOUT_MS


@dataclass
class ReduceOptions:
    """Options of reduce."""

    reduceOp: ReduceOp = ReduceOp.SUM
    root_rank: int = 0
    root_tensor: int = 0
    timeout_ms: int = _DEFAULT_TIMEOUT_MS


@dataclass
class AllGatherOptions:
    """Options of allgather."""

    timeout_ms: int = _DEFAULT_TIMEOUT_MS


@dataclass
class BroadcastOptions:
    """Options of broadcast."""

    root_rank: int = 0
    root_tensor: int = 0
    timeout_ms: int = _DEFAULT_TIMEOUT_MS


@dataclass
class ReduceScatterOptions:
    """Options of reducescatter."""

    reduceOp: ReduceOp = ReduceOp.SUM
    timeout_ms: int = _DEFAULT_TIMEOUT_MS


@dataclass
class SendOptions:
    """Options of send."""

    dst_rank: int = 0
    dst_gpu_index: int = 0
    n_elements: int = 0
    timeout_ms: int = _DEFAULT_TIMEOUT_MS


@dataclass
class RecvOptions:
    """Options of recv."""

    src_rank: int = 0
    src_gpu_index: int = 0
    n_elements: int = 0
    timeout_ms: int = _DEFAULT_TIMEOUT_MS
