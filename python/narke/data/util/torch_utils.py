"""Arrays, tables and frames as torch tensors, and tensors on devices; needs torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from narke.data import blocks as blk
from narke.data import tensors

DEFAULT_TENSOR_NON_BLOCKING_TRANSFER = True


def convert_ndarray_to_torch_tensor(
    ndarray: np.ndarray, dtype: Any = None, device: Any = None, pin_memory: bool = False
) -> Any:
    """An array as a tensor of its own memory.

    Args:
        dtype: torch's. device: where to. pin_memory: in memory that a GPU copies from without the CPU.
    """
    return tensors.to_torch({"x": np.asarray(ndarray)}, dtype, device, pin_memory)["x"]


def convert_ndarray_batch_to_torch_tensor_batch(
    ndarrays: Any, dtypes: Any = None, device: Any = None, pin_memory: bool = False
) -> Any:
    """An array, or a dict of them, as tensors; `dtypes` is torch's for all, or a dict by name."""
    if isinstance(ndarrays, np.ndarray):
        if isinstance(dtypes, Mapping):
            if len(dtypes) != 1:
                raise ValueError(f"one array needs one dtype, not {list(dtypes)}")
            dtypes = next(iter(dtypes.values()))
        return convert_ndarray_to_torch_tensor(ndarrays, dtypes, device, pin_memory)
    return tensors.to_torch(dict(ndarrays), dtypes, device, pin_memory)


def convert_ndarray_list_to_torch_tensor_list(
    ndarrays: Mapping[str, Sequence[np.ndarray]],
    dtypes: Any = None,
    device: Any = None,
    pin_memory: bool = False,
) -> dict[str, list[Any]]:
    """A dict of lists of arrays as a dict of lists of tensors."""

    def kind(name: str) -> Any:
        return dtypes.get(name) if isinstance(dtypes, Mapping) else dtypes

    return {
        name: [convert_ndarray_to_torch_tensor(part, kind(name), device, pin_memory) for part in parts]
        for name, parts in ndarrays.items()
    }


def convert_table_to_torch_tensor(
    data_batch: Any, columns: Any = None, column_dtypes: Any = None, unsqueeze: bool = True
) -> Any:
    """Columns of a DataFrame or table as one tensor (rows x columns), or, for lists of columns, as several.

    Args:
        columns: names, or lists of names; all by default. column_dtypes: torch dtype, or one a list.
        unsqueeze: columns of numbers get two dimensions.
    """
    batch = blk.to_batch(blk.from_batch(data_batch), "numpy")
    return tensors.torch_columns(batch, columns or list(batch), column_dtypes, unsqueeze)


def arrow_batch_to_tensors(
    batch: Any,
    dtypes: Any = None,
    combine_chunks: bool = False,
    pin_memory: bool = False,
    threadpool: Any = None,
) -> dict[str, Any]:
    """An Arrow table's columns as tensors; without `combine_chunks` each is a list of one tensor a chunk.

    Args:
        threadpool: executor in which columns are converted side by side.
    """

    def convert(name: str) -> Any:
        kind = dtypes.get(name) if isinstance(dtypes, Mapping) else dtypes
        pieces = [batch.select([name])] if combine_chunks else _pieces(batch.select([name]))
        made = [
            convert_ndarray_to_torch_tensor(blk.to_batch(piece, "numpy")[name], kind, None, pin_memory)
            for piece in pieces
        ]
        return made[0] if combine_chunks else made

    run = map if threadpool is None else threadpool.map
    return dict(zip(batch.column_names, run(convert, batch.column_names), strict=True))


def _pieces(table: Any) -> list[Any]:
    parts = [type(table).from_batches([batch]) for batch in table.to_batches()]
    return parts or [table]


def concat_tensors_to_device(
    tensor_sequence: Sequence[Any],
    device: Any = None,
    non_blocking: bool = DEFAULT_TENSOR_NON_BLOCKING_TRANSFER,
) -> Any:
    """Tensors one after another, on a device, in one copy.

    Raises:
        ValueError: there are none, or they differ in more than their length.
    """
    import torch

    if not tensor_sequence:
        raise ValueError("there are no tensors to put together")
    first = tensor_sequence[0]
    if any(t.dtype != first.dtype or t.shape[1:] != first.shape[1:] for t in tensor_sequence):
        raise ValueError("tensors must have one dtype and one shape but for their length to be put together")
    if len(tensor_sequence) == 1:
        return first if device is None else first.to(device, non_blocking=non_blocking)
    rows = sum(len(t) for t in tensor_sequence)
    whole = torch.empty((rows, *first.shape[1:]), dtype=first.dtype, device=device)
    start = 0
    for tensor in tensor_sequence:
        whole[start : start + len(tensor)].copy_(tensor, non_blocking=non_blocking)
        start += len(tensor)
    return whole


def move_tensors_to_device(
    batch: Any,
    device: Any = None,
    non_blocking: bool = DEFAULT_TENSOR_NON_BLOCKING_TRANSFER,
    concat: bool = True,
) -> Any:
    """Tensors, sequences and dicts of them (or of sequences of them) on a device.

    Args:
        concat: sequences inside a dict become one tensor each.
    """
    import torch

    if isinstance(batch, torch.Tensor):
        return batch if device is None else batch.to(device, non_blocking=non_blocking)
    if isinstance(batch, Mapping):
        return {name: _moved(value, device, non_blocking, concat) for name, value in batch.items()}
    return type(batch)(_moved(value, device, non_blocking, concat) for value in batch)


def _moved(value: Any, device: Any, non_blocking: bool, concat: bool) -> Any:
    import torch

    if isinstance(value, torch.Tensor) or not concat:
        return move_tensors_to_device(value, device, non_blocking, concat)
    return concat_tensors_to_device(value, device, non_blocking)


def pin_tensors_to_memory(batch: Any) -> Any:
    """Tensors, sequences and dicts of them in memory that a GPU copies from without the CPU."""
    import torch

    if isinstance(batch, torch.Tensor):
        return batch.pin_memory()
    if isinstance(batch, Mapping):
        return {name: pin_tensors_to_memory(value) for name, value in batch.items()}
    return type(batch)(pin_tensors_to_memory(value) for value in batch)


def convert_tensors_to_numpy(batch: Any) -> Any:
    """Tensors, sequences and dicts of them as arrays; other values as they are."""
    import torch

    if isinstance(batch, torch.Tensor):
        return batch.detach().cpu().numpy()
    if isinstance(batch, Mapping):
        return {name: convert_tensors_to_numpy(value) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(convert_tensors_to_numpy(value) for value in batch)
    return batch
