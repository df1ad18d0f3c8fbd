"""The process group of PyTorch on XLA devices."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from narke.train.backend import Backend
from narke.train.torch.config import TorchConfig, _set_environment, _TorchBackend

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


class _XlaBackend(_TorchBackend):
    share_cuda_visible_devices = False

    def _join(self) -> Callable[..., None]:
        return _join_xla


def _join_xla(config: TorchXLAConfig, host: str, port: int, place: dict[str, int]) -> None:
    _set_environment(host, port, place)
    if config.neuron_parallel_compile:
        os.environ["NEURON_EXTRACT_GRAPHS_ONLY"] = "1"
    import torch.distributed as dist
    import torch_xla.core.xla_model as xm  # noqa: F401
    import torch_xla.distributed.xla_backend  # noqa: F401

    dist.init_process_group("xla", rank=place["rank"], world_size=place["world_size"])
