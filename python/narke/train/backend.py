"""What sets up a framework's process group on the workers."""

from __future__ import annotations

import contextlib
from typing import Any

__all__ = ["Backend", "BackendConfig"]


class BackendConfig:
    """Settings of a framework's process group; the base does nothing."""

    @property
    def backend_cls(self) -> type[Backend]:
        """The class that sets it up."""
        return Backend

    @property
    def train_func_context(self) -> Any:
        """Makes the context manager in which a worker's training function runs."""
        return contextlib.nullcontext

    @property
    def framework(self) -> Any:
        """The framework's name; None if there is none."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """The settings as a dictionary."""
        return dict(vars(self))

    def _repr_html_(self) -> str:
        return f"<pre>{self!r}</pre>"


class Backend:
    """Sets up and takes down a framework's process group; the base does nothing.

    The methods run in the controller; ``worker_group`` is a `narke.train._worker_group.WorkerGroup`.
    """

    share_cuda_visible_devices: bool = False
    has_replica_groups: bool = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes any arguments."""

    @staticmethod
    def encode_data(data_dict: dict[str, Any]) -> Any:
        """What is sent for the metrics of a report; called on the workers.

        Args:
            data_dict: the metrics.
        """
        return data_dict

    @staticmethod
    def decode_data(encoded_data: Any) -> dict[str, Any]:
        """The metrics that `encode_data` made something of; called in the controller.

        Args:
            encoded_data: what arrived.
        """
        return encoded_data

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """The workers are there."""

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        """The training functions have ended; the workers are about to."""

    def on_training_start(self, worker_group: Any, backend_config: Any) -> None:
        """The training functions are about to begin."""
