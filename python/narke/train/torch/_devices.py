"""The devices of a worker."""

from __future__ import annotations

from typing import Any

__all__ = ["devices", "use_own_gpu"]


def devices() -> list[Any]:
    """The GPUs that this worker was given, as this process numbers them; the CPU if there are none."""
    import torch

    import narke

    ids = [str(each) for each in narke.get_runtime_context().get_accelerator_ids().get("GPU", ())]
    if not (ids and torch.cuda.is_available()):
        return [torch.device("cpu")]
    import os

    visible = [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    return [torch.device(f"cuda:{visible.index(each) if each in visible else int(each)}") for each in ids]


def use_own_gpu() -> bool:
    """Make this worker's first GPU the current one of this thread.

    Returns:
        whether it has one.
    """
    import torch

    first = devices()[0]
    if first.type == "cuda":
        torch.cuda.set_device(first)
    return first.type == "cuda"
