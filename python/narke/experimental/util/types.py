"""Reductions and devices for collective operations."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from narke.util.annotations import PublicAPI

__all__ = ["AllGatherOp", "AllReduceOp", "Device", "ReduceOp", "ReduceScatterOp"]


@PublicAPI
class ReduceOp(Enum):
    """How values of several processes become one."""

    SUM = 0
    PRODUCT = 1
    MAX = 2
    MIN = 3
    AVG = 4

    def __str__(self) -> str:
        return self.name.lower()


@PublicAPI
class AllGatherOp:
    """Give every process the values of all."""


@PublicAPI
@dataclass
class AllReduceOp:
    """Give every process the reduction of all values."""

    reduceOp: ReduceOp = ReduceOp.SUM


@PublicAPI
@dataclass
class ReduceScatterOp:
    """Give every process its part of the reduction of all values."""

    reduceOp: ReduceOp = ReduceOp.SUM


@PublicAPI(stability="alpha")
class Device(Enum):
    """Where tensors lie."""

    DEFAULT = "default"
    CPU = "cpu"
    GPU = "gpu"
    CUDA = "cuda"
