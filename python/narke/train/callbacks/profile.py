"""Profiles of PyTorch for TensorBoard."""

from __future__ import annotations

from typing import Any

from narke.train.callbacks.callback import of_workers
from narke.train.callbacks.logging import _InFolder

__all__ = ["TorchTensorboardProfilerCallback"]


class TorchTensorboardProfilerCallback(_InFolder):
    """Writes what `TorchWorkerProfiler` reported into a folder that TensorBoard's profiler reads.

    Args:
        logdir: folder; ``pytorch_profiler`` in the trainer's if None.
        workers_to_log: a rank, ranks, or None for all.
    """

    RESERVED_KEYS = {"_train_torch_profiler"}

    def __init__(self, logdir: str | None = None, workers_to_log: int | list[int] | None = None) -> None:
        super().__init__(logdir)
        self._workers = workers_to_log

    def start_training(self, logdir: str, config: dict[str, Any] | None = None, **info: Any) -> None:
        """The run begins: make the folder."""
        super().start_training(f"{logdir}/pytorch_profiler", config, **info)

    def handle_result(self, results: list[dict[str, Any]], **info: Any) -> None:
        """Write the profiles."""
        for metrics in of_workers(results, self._workers):
            for name, content in metrics.get("_train_torch_profiler", ()):
                (self.logdir / name).write_bytes(content)
