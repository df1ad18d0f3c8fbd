"""Training with PyTorch Lightning."""

from __future__ import annotations

from narke._private.lazy_names import lazy_names

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

__getattr__ = lazy_names(__name__, _HOMES)
