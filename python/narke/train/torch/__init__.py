"""Training with PyTorch."""

from narke._private import preloads
from narke.train.torch.config import TorchConfig
from narke.train.torch.torch_checkpoint import TorchCheckpoint
from narke.train.torch.torch_detection_predictor import TorchDetectionPredictor
from narke.train.torch.torch_predictor import TorchPredictor
from narke.train.torch.torch_trainer import TorchTrainer
from narke.train.torch.train_loop_utils import (
    TorchWorkerProfiler,
    accelerate,
    backward,
    enable_reproducibility,
    get_device,
    get_devices,
    prepare_data_loader,
    prepare_model,
    prepare_optimizer,
)

__all__ = [
    "TorchCheckpoint",
    "TorchConfig",
    "TorchDetectionPredictor",
    "TorchPredictor",
    "TorchTrainer",
    "TorchWorkerProfiler",
    "accelerate",
    "backward",
    "enable_reproducibility",
    "get_device",
    "get_devices",
    "prepare_data_loader",
    "prepare_model",
    "prepare_optimizer",
]

preloads.expect(preloads.TORCH)
