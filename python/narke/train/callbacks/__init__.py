"""Callbacks of `Trainer` of Ray 2.0."""

from narke.train.callbacks.callback import TrainingCallback
from narke.train.callbacks.logging import JsonLoggerCallback, MLflowLoggerCallback, TBXLoggerCallback
from narke.train.callbacks.print import PrintCallback
from narke.train.callbacks.profile import TorchTensorboardProfilerCallback

__all__ = [
    "JsonLoggerCallback",
    "MLflowLoggerCallback",
    "PrintCallback",
    "TBXLoggerCallback",
    "TorchTensorboardProfilerCallback",
    "TrainingCallback",
]
