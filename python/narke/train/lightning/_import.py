"""PyTorch Lightning under either of its package names."""

from __future__ import annotations

try:
    import lightning.pytorch as pl
    from lightning.fabric.plugins.environments import LightningEnvironment
    from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy
except ModuleNotFoundError:
    import pytorch_lightning as pl  # type: ignore[no-redef, assignment]
    from lightning_fabric.plugins.environments import LightningEnvironment  # type: ignore[no-redef, assignment]
    from pytorch_lightning.strategies import (  # type: ignore[no-redef, assignment]
        DDPStrategy,
        DeepSpeedStrategy,
        FSDPStrategy,
    )

__all__ = ["DDPStrategy", "DeepSpeedStrategy", "FSDPStrategy", "LightningEnvironment", "pl"]
