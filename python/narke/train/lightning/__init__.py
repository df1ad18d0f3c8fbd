"""Training with PyTorch Lightning."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "LightningCheckpoint": "lightning_checkpoint",
    "LightningConfigBuilder": "lightning_trainer",
    "LightningPredictor": "lightning_predictor",
    "LightningTrainer": "lightning_trainer",
    "RayDDPStrategy": "_utils",
    "RayDeepSpeedStrategy": "_utils",
    "RayFSDPStrategy": "_utils",
    "RayLightningEnvironment": "_utils",
    "RayTrainReportCallback": "_utils",
    "prepare_trainer": "_utils",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"narke.train.lightning has no {name!r}; what it has is in its __all__")
