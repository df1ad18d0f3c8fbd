"""A data loader whose batches are on the worker's device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["DeviceLoader"]


class DeviceLoader:
    """Gives the batches of a loader on a device; everything else is the loader's.

    Args:
        loader: of batches.
        device: where to.
        prefetch: copy the next batch to a GPU, in a stream of its own, while one is used.
    """

    def __init__(self, loader: Any, device: Any, prefetch: bool) -> None:
        self._loader, self.device = loader, device
        self._prefetch = prefetch and device.type == "cuda"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_loader":
            raise AttributeError(name)
        return getattr(self._loader, name)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        return self._ahead() if self._prefetch else (moved(each, self.device) for each in self._loader)

    def _ahead(self) -> Iterator[Any]:
        import torch

        stream = torch.cuda.Stream(self.device)
        waiting: list[Any] = []
        for batch in self._loader:
            with torch.cuda.stream(stream):
                waiting.append(moved(batch, self.device))
            if len(waiting) == 2:
                yield _ready(waiting.pop(0), stream)
        for each in waiting:
            yield _ready(each, stream)


def moved(batch: Any, device: Any) -> Any:
    """A batch on a device, whatever containers its tensors are in."""
    if hasattr(batch, "to"):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return type(batch)({name: moved(each, device) for name, each in batch.items()})
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(moved(each, device) for each in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(moved(each, device) for each in batch)
    return batch


def _ready(batch: Any, stream: Any) -> Any:
    """The batch once its copy is done, kept from being reused too early."""
    import torch

    now = torch.cuda.current_stream()
    now.wait_stream(stream)
    for tensor in _tensors(batch):
        tensor.record_stream(now)
    return batch


def _tensors(batch: Any) -> Iterator[Any]:
    if hasattr(batch, "record_stream"):
        yield batch
    elif isinstance(batch, dict):
        for each in batch.values():
            yield from _tensors(each)
    elif isinstance(batch, (list, tuple)):
        for each in batch:
            yield from _tensors(each)
