"""The process group of PyTorch on XLA devices."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from narke.train.backend import Backend
from narke.train.torch.config import TorchConfig, _free_address, _leave, _local, _set_environment

__all__ = ["TorchXLAConfig"]


@dataclass
class TorchXLAConfig(TorchConfig):
    """Settings of the process group; the workers need torch_xla.

    Args:
        neuron_parallel_compile: let the first run only collect graphs to compile (AWS Neuron).
    """

    neuron_parallel_compile: bool = False

    @property
    def backend_cls(self) -> type[Backend]:
        return _XlaBackend


class _XlaBackend(Backend):
    def on_start(self, worker_group: Any, backend_config: TorchXLAConfig) -> None:
        import narke

        host, port = worker_group.execute_single(0, _free_address)
        refs = []
        for rank, worker in enumerate(worker_group.workers):
            place = {"rank": rank, "world_size": len(worker_group), **_local(worker)}
            refs.append(worker_group.execute_single_async(rank, _join_xla, backend_config, host, port, place))
        narke.get(refs, timeout=backend_config.timeout_s)

    def on_shutdown(self, worker_group: Any, backend_config: TorchXLAConfig) -> None:
        worker_group.execute(_leave)


def _join_xla(config: TorchXLAConfig, host: str, port: int, place: dict[str, int]) -> None:
    _set_environment(host, port, place)
    if config.neuron_parallel_compile:
        os.environ["NEURON_EXTRACT_GRAPHS_ONLY"] = "1"
    import torch.distributed as dist
    import torch_xla.core.xla_model as xm  # noqa: F401
    import torch_xla.distributed.xla_backend  # noqa: F401

    dist.init_process_group("xla", rank=place["rank"], world_size=place["world_size"])
