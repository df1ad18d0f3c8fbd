"""Replicas in gangs: ranks of one data-parallel group, which start and end together."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

import narke
from narke._private import kv
from narke.serve.api import get_replica_context
from narke.serve.config import AutoscalingConfig, GangSchedulingConfig
from narke.serve.llm.configs import LLMConfig
from narke.serve.llm.server import LLMServer

__all__ = ["DPServer"]

_NAMESPACE = "serve"
_MEET_WITHIN_S = 120.0
_LOOK_EVERY_S = 0.05


class DPServer(LLMServer):
    """One rank of a gang that serves a model together.

    With vLLM the ranks share a model's experts; with transformers each has the whole model, and requests are shared.

    Attributes:
        dp_rank, dp_size, gang_id: this rank, ranks of the gang, its name.
        dp_address, dp_rpc_port, dp_node_id: where rank 0 is.
    """

    async def __init__(  # type: ignore[misc]
        self, llm_config: LLMConfig, *, engine_cls: Any = None, model_downloader: Any = None
    ) -> None:
        gang = get_replica_context().gang_context
        if gang is None:
            raise RuntimeError(
                "DPServer runs in gangs only: deploy it by build_dp_deployment, or give the deployment a "
                "gang_scheduling_config"
            )
        self.dp_rank, self.dp_size, self.gang_id = gang.rank, gang.world_size, gang.gang_id
        if self.dp_rank == 0:
            self._register()
        place = await self._first_rank()
        self.dp_address, self.dp_rpc_port, self.dp_node_id = place
        llm_config.update_engine_kwargs(
            data_parallel_rank=self.dp_rank,
            data_parallel_address=self.dp_address,
            data_parallel_rpc_port=self.dp_rpc_port,
        )
        super().__init__(llm_config, engine_cls=engine_cls, model_downloader=model_downloader)

    @classmethod
    def get_deployment_options(cls, llm_config: LLMConfig) -> dict[str, Any]:
        """Options of the deployment: ``num_replicas`` and the bounds of autoscaling count gangs.

        Raises:
            ValueError: data_parallel_size is no positive number.
        """
        size = llm_config.engine_kwargs.get("data_parallel_size", 1)
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"Invalid data_parallel_size: {size}, expecting positive integer.")
        options = super().get_deployment_options(llm_config)
        scaling = options.get("autoscaling_config")
        if scaling is not None or options.get("num_replicas") == "auto":
            options["autoscaling_config"] = _times(scaling or AutoscalingConfig.default(), size)
            options.pop("num_replicas", None)
        else:
            options["num_replicas"] = options["num_replicas"] * size
        options.pop("placement_group_strategy", None)  # a gang has its own
        options["gang_scheduling_config"] = GangSchedulingConfig(gang_size=size)
        return options

    def _register(self) -> None:
        """Tell the other ranks where this one is; vLLM listens there."""
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        facts = [narke.util.get_node_ip_address(), port, narke.get_runtime_context().get_node_id()]
        kv.put(self._key(), json.dumps(facts).encode(), namespace=_NAMESPACE)

    async def _first_rank(self) -> tuple[str, int, str]:
        deadline = time.monotonic() + _MEET_WITHIN_S
        while (found := kv.get(self._key(), namespace=_NAMESPACE)) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"rank 0 of the gang {self.gang_id} did not come within {_MEET_WITHIN_S} s; see its log"
                )
            await asyncio.sleep(_LOOK_EVERY_S)
        address, port, node = json.loads(found)
        return address, port, node

    def _key(self) -> str:
        return f"gang:{self.gang_id}"

    def __del__(self) -> None:
        super().__del__()
        if getattr(self, "dp_rank", None) == 0:
            kv.delete(self._key(), namespace=_NAMESPACE)


def _times(scaling: Any, size: int) -> AutoscalingConfig:
    config = AutoscalingConfig.model_validate(scaling)
    bounds = {
        name: value * size
        for name in ("min_replicas", "max_replicas", "initial_replicas")
        if (value := getattr(config, name)) is not None
    }
    return config.model_copy(update=bounds)
