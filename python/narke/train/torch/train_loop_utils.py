"""What training functions with PyTorch call: models, loaders and optimizers for distributed training."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from narke.train import _session
from narke.train.context import get_context

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

__all__ = [
    "TorchWorkerProfiler",
    "accelerate",
    "backward",
    "enable_reproducibility",
    "get_device",
    "get_devices",
    "prepare_data_loader",
    "prepare_model",
    "prepare_optimizer",
]


def get_device() -> torch.device:
    """The device of this worker: its first GPU, else the CPU."""
    return get_devices()[0]


def get_devices() -> list[torch.device]:
    """The devices of this worker, in their order; the CPU if it has no GPU."""
    from narke.train.torch._devices import devices

    return devices()


def prepare_model(
    model: torch.nn.Module,
    move_to_device: bool | torch.device = True,
    parallel_strategy: str | None = "ddp",
    parallel_strategy_kwargs: dict[str, Any] | None = None,
) -> torch.nn.Module:
    """Move a model to this worker's device and wrap it for distributed training.

    Args:
        model: to train.
        move_to_device: whether, or to which device.
        parallel_strategy: "ddp", "fsdp", or None; with one worker nothing is wrapped.
        parallel_strategy_kwargs: for DistributedDataParallel or FullyShardedDataParallel.

    Returns:
        the model to train.

    Raises:
        ValueError: another strategy.
    """
    if parallel_strategy not in ("ddp", "fsdp", None):
        raise ValueError(f"parallel_strategy is {parallel_strategy!r}; it must be 'ddp', 'fsdp' or None")
    import torch

    device = move_to_device if isinstance(move_to_device, torch.device) else get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if move_to_device:
        model = model.to(device)
    _accelerator().mixed(model)
    if parallel_strategy is None or get_context().get_world_size() <= 1:
        return model
    kwargs = dict(parallel_strategy_kwargs or {})
    if parallel_strategy == "fsdp":
        from torch.distributed.fsdp import FullyShardedDataParallel

        kwargs.setdefault("device_id", device)
        return FullyShardedDataParallel(model, **kwargs)
    from torch.nn.parallel import DistributedDataParallel

    if device.type == "cuda":
        kwargs = {"device_ids": [device], "output_device": device, **kwargs}
    return DistributedDataParallel(model, **kwargs)


def prepare_data_loader(
    data_loader: DataLoader,
    add_dist_sampler: bool = True,
    move_to_device: bool = True,
    auto_transfer: bool = True,
) -> Any:
    """A loader that gives this worker its part of the data, on its device.

    Args:
        data_loader: over the whole data.
        add_dist_sampler: split the data over the workers; shuffled if the given loader shuffles.
        move_to_device: give batches on this worker's device.
        auto_transfer: copy the next batch to the GPU while one is used.

    Returns:
        a loader; call ``loader.sampler.set_epoch(epoch)`` for another order in each epoch.
    """
    if add_dist_sampler and get_context().get_world_size() > 1 and not _is_split(data_loader):
        data_loader = _split(data_loader)
    if not move_to_device:
        return data_loader
    from narke.train.torch._loader import DeviceLoader

    return DeviceLoader(data_loader, get_device(), auto_transfer)


def _is_split(loader: Any) -> bool:
    from torch.utils.data import DistributedSampler, IterableDataset

    return isinstance(loader.sampler, DistributedSampler) or isinstance(loader.dataset, IterableDataset)


def _split(loader: Any) -> Any:
    """The same loader with a sampler that gives a part of the data."""
    from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, SequentialSampler

    if not isinstance(loader.sampler, (RandomSampler, SequentialSampler)):
        raise ValueError(
            f"prepare_data_loader cannot split a loader with a {type(loader.sampler).__name__}: pass "
            "add_dist_sampler=False and split the data yourself"
        )
    context = get_context()
    sampler: Any = DistributedSampler(
        loader.dataset,
        num_replicas=context.get_world_size(),
        rank=context.get_world_rank(),
        shuffle=isinstance(loader.sampler, RandomSampler),
    )
    return DataLoader(
        dataset=loader.dataset,
        batch_size=loader.batch_size,
        shuffle=False,
        sampler=sampler,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last,
        timeout=loader.timeout,
        worker_init_fn=_seeded(loader.worker_init_fn, loader.generator),
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )


def _seeded(init: Callable | None, generator: Any) -> Callable | None:
    """The loader's own initialisation of its workers, in which numpy and random are seeded if it has a generator."""
    if generator is None or init is not None:
        return init
    return _seed_worker


def _seed_worker(_worker: int) -> None:
    import numpy as np
    import torch

    seed = torch.initial_seed() % 2**32
    np.random.seed(seed)
    random.seed(seed)


def accelerate(amp: bool = False) -> None:
    """Turn on automatic mixed precision for what is prepared afterwards.

    Args:
        amp: whether.

    Raises:
        RuntimeError: it was called already, or after something was prepared.
    """
    session: Any = _session.require("accelerate()")
    if getattr(session, "_torch", None) is not None:
        raise RuntimeError("accelerate() is called once, before anything is prepared")
    session._torch = _Accelerator(amp)


def prepare_optimizer(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """An optimizer whose steps know of mixed precision.

    Args:
        optimizer: of the prepared model.
    """
    return _accelerator().optimizer(optimizer)


def backward(tensor: torch.Tensor) -> None:
    """Compute gradients, scaled with mixed precision.

    Args:
        tensor: the loss.
    """
    _accelerator().backward(tensor)


def enable_reproducibility(seed: int = 0) -> None:
    """Make runs repeatable as far as PyTorch can.

    Args:
        seed: of random numbers; each rank adds its own number.
    """
    import numpy as np
    import torch

    seed += get_context().get_world_rank()
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"


class _Accelerator:
    """Mixed precision of one worker.

    Args:
        amp: whether it is on.
    """

    def __init__(self, amp: bool = False) -> None:
        self._amp = amp
        self._scaler: Any = None
        if amp and get_device().type == "cuda":
            import torch

            self._scaler = torch.amp.GradScaler("cuda")

    def mixed(self, model: Any) -> None:
        """Let a model's forward pass choose its precision."""
        if not self._amp:
            return
        import torch

        kind = get_device().type
        forward = model.forward

        def mixed_forward(*args: Any, **kwargs: Any) -> Any:
            with torch.autocast(kind):
                found = forward(*args, **kwargs)
            return found.float() if isinstance(found, torch.Tensor) else found

        model.forward = mixed_forward

    def optimizer(self, optimizer: Any) -> Any:
        if self._scaler is None:
            return optimizer
        scaler, step = self._scaler, optimizer.step

        def scaled_step(*args: Any, **kwargs: Any) -> None:
            optimizer.step = step
            scaler.step(optimizer, *args, **kwargs)
            scaler.update()
            optimizer.step = scaled_step

        optimizer.step = scaled_step
        return optimizer

    def backward(self, tensor: Any) -> None:
        (self._scaler.scale(tensor) if self._scaler is not None else tensor).backward()


def _accelerator() -> _Accelerator:
    session: Any = _session.current()
    if session is None:
        return _Accelerator()
    if getattr(session, "_torch", None) is None:
        session._torch = _Accelerator()
    return session._torch


class TorchWorkerProfiler:
    """Profiles steps of this worker by `torch.profiler` into files that TensorBoard shows.

    Args:
        trace_dir: folder of the files; one below the run's if None.
    """

    WORKER_TRACE_DIR_NAME = "pytorch_profiler_worker_traces"

    def __init__(self, trace_dir: str | None = None) -> None:
        from pathlib import Path

        self.trace_dir = Path(trace_dir or self.WORKER_TRACE_DIR_NAME)
        self.trace_dir.mkdir(parents=True, exist_ok=True)

    def trace_handler(self, p: Any) -> None:
        """Write a finished profile; for ``torch.profiler.profile(on_trace_ready=)``."""
        rank = get_context().get_world_rank()
        p.export_chrome_trace(str(self.trace_dir / f"worker_{rank}_epoch_{p.step_num}.pt.trace.json"))

    def get_and_clear_profile_traces(self) -> dict[str, list[tuple[str, bytes]]]:
        """The files written so far, for a report: {"_train_torch_profiler": [(name, contents)]}; they are removed."""
        found = sorted(self.trace_dir.glob("*.pt.trace.json"))
        traces = [(path.name, path.read_bytes()) for path in found]
        for path in found:
            path.unlink()
        return {"_train_torch_profiler": traces}
