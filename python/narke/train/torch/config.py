"""PyTorch's process group on the workers."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from narke.train.backend import Backend, BackendConfig
from narke.train.constants import (
    DEFAULT_TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S,
    TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S,
)

__all__ = ["TorchConfig", "TorchConfigContextManager"]


class TorchConfigContextManager:
    """Around a worker's training function: its thread uses the worker's GPU."""

    def __enter__(self) -> None:
        from narke.train.torch._devices import use_own_gpu

        use_own_gpu()

    def __exit__(self, type: Any, value: Any, traceback: Any) -> None:
        return None


@dataclass
class TorchConfig(BackendConfig):
    """Settings of PyTorch's process group.

    Args:
        backend: "nccl", "gloo" or another that torch knows; by default nccl with GPUs, else gloo.
        init_method: "env" or "tcp": how ranks find each other.
        timeout_s: after which a collective call fails. Dead ranks are noticed by the run itself, at once.

    Raises:
        ValueError: another `init_method`.
    """

    backend: str | None = None
    init_method: str = "env"
    timeout_s: int = 1800

    def __post_init__(self) -> None:
        if self.init_method not in ("env", "tcp"):
            raise ValueError(f"TorchConfig.init_method is {self.init_method!r}; it must be 'env' or 'tcp'")

    @property
    def backend_cls(self) -> type[Backend]:
        return _TorchBackend

    @property
    def train_func_context(self) -> Any:
        return TorchConfigContextManager

    @property
    def framework(self) -> str:
        return "torch"


class _TorchBackend(Backend):
    share_cuda_visible_devices = True

    def _join(self) -> Callable[..., None]:
        """What each worker calls with the configuration, the address of rank 0, and its own place."""
        return _join

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        host, port = worker_group.execute_single(0, _free_address)
        refs = []
        for rank, worker in enumerate(worker_group.workers):
            place = {"rank": rank, "world_size": len(worker_group), **_local(worker)}
            refs.append(
                worker_group.execute_single_async(rank, self._join(), backend_config, host, port, place)
            )
        import narke

        narke.get(refs, timeout=backend_config.timeout_s)

    def on_shutdown(self, worker_group: Any, backend_config: TorchConfig) -> None:
        limit = os.environ.get(
            TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S, DEFAULT_TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S
        )
        import narke

        narke.get(worker_group.execute_async(_leave), timeout=float(limit))


def _local(worker: Any) -> dict[str, int]:
    place = worker.place
    return {
        "local_rank": place.local_rank,
        "local_world_size": place.local_world_size,
        "node_rank": place.node_rank,
        "cpus": int(worker.info.resources.get("CPU", 0)),
    }


def _free_address() -> tuple[str, int]:
    import narke

    with socket.socket() as probe:
        probe.bind(("", 0))
        return narke.util.get_node_ip_address(), probe.getsockname()[1]


def _join(config: TorchConfig, host: str, port: int, place: dict[str, int]) -> None:
    """In a worker: become a rank of the process group."""
    _set_environment(host, port, place)
    import torch
    import torch.distributed as dist

    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(max(place["cpus"], 1))
    if not dist.is_available():
        return
    from narke.train.torch._devices import use_own_gpu

    on_gpu = use_own_gpu()
    backend = config.backend or ("nccl" if on_gpu else "gloo")
    if "nccl" in backend:
        os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1")
    dist.init_process_group(
        backend=backend,
        init_method="env://" if config.init_method == "env" else f"tcp://{host}:{port}",
        rank=place["rank"],
        world_size=place["world_size"],
        timeout=timedelta(seconds=config.timeout_s),
    )


def _set_environment(host: str, port: int, place: dict[str, int]) -> None:
    os.environ.update(
        MASTER_ADDR=host,
        MASTER_PORT=str(port),
        RANK=str(place["rank"]),
        WORLD_SIZE=str(place["world_size"]),
        LOCAL_RANK=str(place["local_rank"]),
        LOCAL_WORLD_SIZE=str(place["local_world_size"]),
        NODE_RANK=str(place["node_rank"]),
        GROUP_RANK=str(place["node_rank"]),
        TORCHELASTIC_RUN_ID=os.environ.get("TORCHELASTIC_RUN_ID", uuid.uuid4().hex),
    )


def _leave() -> None:
    """In a worker: leave the process group."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        with contextlib.suppress(RuntimeError):  # other ranks are gone already
            dist.destroy_process_group()
