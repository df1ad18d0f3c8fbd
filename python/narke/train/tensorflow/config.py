"""TensorFlow's cluster on the workers."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from narke.train.backend import Backend, BackendConfig

__all__ = ["TensorflowConfig"]


@dataclass
class TensorflowConfig(BackendConfig):
    """Settings of TensorFlow's cluster; there are none to make."""

    @property
    def backend_cls(self) -> type[Backend]:
        return _ClusterBackend

    @property
    def framework(self) -> str:
        return "tensorflow"


class _ClusterBackend(Backend):
    def on_start(self, worker_group: Any, backend_config: TensorflowConfig) -> None:
        import narke
        from narke.train.lightgbm.config import _free_address

        hosts = [f"{host}:{port}" for host, port in worker_group.execute(_free_address)]
        narke.get(
            [
                worker_group.execute_single_async(rank, _be_told, cluster_of(hosts, rank))
                for rank in range(len(worker_group))
            ]
        )


def cluster_of(hosts: list[str], rank: int) -> dict[str, Any]:
    """What MultiWorkerMirroredStrategy reads from TF_CONFIG; pure.

    Args:
        hosts: address of each worker.
        rank: of the worker that reads it.
    """
    return {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": rank}}


def _be_told(cluster: dict[str, Any]) -> None:
    os.environ["TF_CONFIG"] = json.dumps(cluster)
