"""Training with TensorFlow."""

from narke.train.tensorflow.config import TensorflowConfig
from narke.train.tensorflow.tensorflow_checkpoint import TensorflowCheckpoint
from narke.train.tensorflow.tensorflow_predictor import TensorflowPredictor
from narke.train.tensorflow.tensorflow_trainer import TensorflowTrainer
from narke.train.tensorflow.train_loop_utils import prepare_dataset_shard

__all__ = [
    "TensorflowCheckpoint",
    "TensorflowConfig",
    "TensorflowPredictor",
    "TensorflowTrainer",
    "prepare_dataset_shard",
]
