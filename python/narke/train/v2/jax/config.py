"""JAX's distributed runtime on the workers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from narke.train.backend import Backend, BackendConfig
from narke.train.constants import (
    DEFAULT_JAX_DISTRIBUTED_SHUTDOWN_TIMEOUT_S,
    JAX_DISTRIBUTED_SHUTDOWN_TIMEOUT_S,
)

__all__ = ["JaxConfig"]

_START_S = 300


@dataclass
class JaxConfig(BackendConfig):
    """Settings of JAX's distributed runtime.

    Args:
        use_tpu: the workers use TPUs.
        use_gpu: the workers use GPUs.
    """

    use_tpu: bool = False
    use_gpu: bool = False

    @property
    def backend_cls(self) -> type[Backend]:
        return _JaxBackend

    @property
    def framework(self) -> str:
        return "jax"


class _JaxBackend(Backend):
    def on_start(self, worker_group: Any, backend_config: JaxConfig) -> None:
        import narke
        from narke.train.lightgbm.config import _free_address

        host, port = worker_group.execute_single(0, _free_address)
        count = len(worker_group)
        refs = [
            worker_group.execute_single_async(rank, _join, f"{host}:{port}", count, rank, backend_config)
            for rank in range(count)
        ]
        narke.get(refs, timeout=_START_S)

    def on_shutdown(self, worker_group: Any, backend_config: JaxConfig) -> None:
        import narke

        limit = os.environ.get(JAX_DISTRIBUTED_SHUTDOWN_TIMEOUT_S, DEFAULT_JAX_DISTRIBUTED_SHUTDOWN_TIMEOUT_S)
        narke.get(worker_group.execute_async(_leave), timeout=float(limit))


def _join(address: str, count: int, rank: int, config: JaxConfig) -> None:
    if config.use_tpu:
        os.environ.setdefault("JAX_PLATFORMS", "tpu,cpu")
    elif config.use_gpu:
        os.environ.setdefault("JAX_PLATFORMS", "cuda,cpu")
    else:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    if count > 1:
        jax.distributed.initialize(address, count, rank)


def _leave() -> None:
    import jax

    if jax.distributed.is_initialized():
        jax.distributed.shutdown()
