"""PyTorch with torchft: ranks come and go under one lighthouse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import narke
from narke.train.backend import Backend
from narke.train.torch.config import TorchConfig, _TorchBackend

__all__ = ["LighthouseServerActor", "TorchftConfig"]


@narke.remote(num_cpus=0)
class LighthouseServerActor:
    """torchft's lighthouse, on a node of the run.

    Args:
        lighthouse_kwargs: of torchft.coordination.LighthouseServer.
    """

    def __init__(self, lighthouse_kwargs: dict[str, Any]) -> None:
        from torchft.coordination import LighthouseServer

        self.lighthouse = LighthouseServer(**{"bind": "[::]:0", **lighthouse_kwargs})

    def address(self) -> str:
        """Where the workers reach it."""
        return self.lighthouse.address()


@dataclass(init=False)
class TorchftConfig(TorchConfig):
    """Settings of PyTorch's process group with a lighthouse of torchft beside it.

    Args:
        lighthouse_kwargs: of torchft's LighthouseServer.
        kwargs: of `TorchConfig`.
    """

    def __init__(self, lighthouse_kwargs: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lighthouse_kwargs = lighthouse_kwargs

    @property
    def backend_cls(self) -> type[Backend]:
        return _TorchftBackend


class _TorchftBackend(_TorchBackend):
    has_replica_groups = True
    _lighthouse: Any = None

    def on_start(self, worker_group: Any, backend_config: TorchftConfig) -> None:  # type: ignore[override]
        self._lighthouse = LighthouseServerActor.remote(  # type: ignore[attr-defined]
            backend_config.lighthouse_kwargs
        )
        address = narke.get(self._lighthouse.address.remote(), timeout=backend_config.timeout_s)
        worker_group.execute(_set_lighthouse, address)
        super().on_start(worker_group, backend_config)

    def on_shutdown(self, worker_group: Any, backend_config: TorchftConfig) -> None:  # type: ignore[override]
        super().on_shutdown(worker_group, backend_config)
        if self._lighthouse is not None:
            narke.kill(self._lighthouse)


def _set_lighthouse(address: str) -> None:
    import os

    os.environ["TORCHFT_LIGHTHOUSE"] = address
