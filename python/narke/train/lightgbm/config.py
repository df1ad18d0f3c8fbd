"""LightGBM's network on the workers."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

from narke.train.backend import Backend, BackendConfig

__all__ = ["LightGBMConfig", "get_network_params"]

_START_S = 60

# In a worker's process: what LightGBM is told of the others.
_network: dict[str, Any] = {}


def get_network_params() -> dict[str, Any]:
    """Parameters of `lightgbm.train` with which this worker finds the others; {} with one worker."""
    return dict(_network)


@dataclass
class LightGBMConfig(BackendConfig):
    """Settings of LightGBM's network; there are none to make."""

    @property
    def backend_cls(self) -> type[Backend]:
        return _NetworkBackend

    @property
    def framework(self) -> str:
        return "lightgbm"


class _NetworkBackend(Backend):
    def on_training_start(self, worker_group: Any, backend_config: LightGBMConfig) -> None:
        if len(worker_group) < 2:
            return
        import narke

        addresses = narke.get(worker_group.execute_async(_free_address), timeout=_START_S)
        machines = ",".join(f"{host}:{port}" for host, port in addresses)
        refs = [
            worker_group.execute_single_async(rank, _be_told, machines, port, len(addresses))
            for rank, (_, port) in enumerate(addresses)
        ]
        narke.get(refs, timeout=_START_S)


def _free_address() -> tuple[str, int]:
    import narke

    with socket.socket() as probe:
        probe.bind(("", 0))
        return narke.util.get_node_ip_address(), probe.getsockname()[1]


def _be_told(machines: str, port: int, count: int) -> None:
    _network.update(
        machines=machines,
        local_listen_port=port,
        num_machines=count,
        tree_learner="data_parallel",
        pre_partition=True,
    )
