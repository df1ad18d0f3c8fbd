"""Torch tensors in values: their memory travels out of band, like a numpy array's."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["reduce_tensor"]

_MIN_BYTES = 512  # smaller ones are not worth a buffer of their own
_MIN_VIEW_BYTES = 256 << 10  # copying less costs no more than mapping it


def reduce_tensor(obj: Any) -> tuple[Any, ...] | None:
    """How to pickle a dense CPU tensor; None for everything else, which torch pickles itself.

    Values the tensor's autograd history refuses (non-leaf tensors that require gradients) are left to torch, too.
    """
    torch = sys.modules.get("torch")
    if torch is None or type(obj) is not torch.Tensor:
        return None
    if obj.device.type != "cpu" or obj.layout is not torch.strided or obj.requires_grad or _is_special(obj):
        return None
    if obj.numel() * obj.element_size() < _MIN_BYTES:
        return None
    flat = obj.detach().contiguous().view(-1).view(torch.uint8).numpy()
    return _rebuild_tensor, (flat, str(obj.dtype).removeprefix("torch."), tuple(obj.shape))


def _is_special(tensor: Any) -> bool:
    return bool(tensor.is_quantized or tensor.is_conj() or tensor.is_neg() or vars(tensor))


def _rebuild_tensor(flat: Any, dtype: str, shape: tuple[int, ...]) -> Any:
    import torch

    bytes_of = torch.frombuffer(_writable(flat), dtype=torch.uint8)
    return bytes_of.view(getattr(torch, dtype)).view(shape)


def _writable(flat: Any) -> Any:
    """Memory with the bytes of an array that may be part of a stored object.

    Torch knows no read-only tensors, and a stored object must not change: a large one is read in place and its pages
    are copied when the program writes to them, a small one is copied at once.
    """
    from narke import _native

    in_place = _native.private_view(flat) if flat.nbytes >= _MIN_VIEW_BYTES else None
    return flat.copy() if in_place is None else in_place
