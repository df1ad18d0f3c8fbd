"""Functions that make a training batch of a batch."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa

DataBatchType = TypeVar("DataBatchType")
TensorSequenceType: TypeAlias = Sequence[Any]
TensorBatchType: TypeAlias = Any
TensorBatchReturnType: TypeAlias = Any


class CollateFn(abc.ABC, Generic[DataBatchType]):
    """Base: from a batch to whatever the training loop takes."""

    batch_format = "numpy"

    @abc.abstractmethod
    def __call__(self, batch: DataBatchType) -> Any:
        """The training batch."""


class ArrowBatchCollateFn(CollateFn[pa.Table]):
    """Takes Arrow tables."""

    batch_format = "pyarrow"


class NumpyBatchCollateFn(CollateFn[dict[str, np.ndarray]]):
    """Takes dicts of arrays."""


class PandasBatchCollateFn(CollateFn[Any]):
    """Takes DataFrames."""

    batch_format = "pandas"


class DefaultCollateFn(ArrowBatchCollateFn):
    """Arrow tables to dicts of torch tensors.

    Args:
        dtypes: torch dtype of all columns, or by column. combine_chunks, num_workers: accepted for Ray's programs.
    """

    def __init__(self, dtypes: Any = None, combine_chunks: bool = False, num_workers: int = 4):
        self.dtypes = dtypes

    def __call__(self, batch: pa.Table) -> dict[str, Any]:
        from narke.data import blocks as blk
        from narke.data.tensors import to_torch

        return to_torch(blk.to_batch(batch, "numpy"), self.dtypes, "auto", False)


def is_tensor_batch_type(batch: Any) -> bool:
    """Whether it is a torch tensor, or a sequence or dict of them (or of sequences of them)."""
    import torch

    if isinstance(batch, torch.Tensor):
        return True
    if isinstance(batch, Mapping):
        return all(_is_tensors(value) for value in batch.values())
    return _is_tensors(batch)


def _is_tensors(value: Any) -> bool:
    import torch

    if isinstance(value, torch.Tensor):
        return True
    return isinstance(value, (list, tuple)) and all(isinstance(v, torch.Tensor) for v in value)
