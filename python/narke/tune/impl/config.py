"""Tune's configurations: those of the first generation, which Tune still uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from narke.air import config as _config

__all__ = ["CheckpointConfig", "FailureConfig", "RunConfig"]


@dataclass
class CheckpointConfig(_config.CheckpointConfig):
    """When checkpoints are made, and which are kept; see `narke.air.CheckpointConfig`."""

    __repr__ = _config.CheckpointConfig.__repr__


@dataclass
class FailureConfig(_config.FailureConfig):
    """What happens when a trial fails; see `narke.air.FailureConfig`."""

    __repr__ = _config.FailureConfig.__repr__


@dataclass
class RunConfig(_config.RunConfig):
    """Name, storage and conduct of an experiment; see `narke.air.RunConfig`."""

    def __post_init__(self) -> None:
        from narke.tune.experimental.output import get_air_verbosity

        if self.verbose is not None and get_air_verbosity(self.verbose) is None:
            raise ValueError(f"RunConfig.verbose is {self.verbose!r}; it must be a number from 0 to 3")
        self.checkpoint_config = self.checkpoint_config or CheckpointConfig()
        self.failure_config = self.failure_config or FailureConfig()
        super().__post_init__()

    __repr__ = _config.RunConfig.__repr__

    def replaced(self, **changes: Any) -> RunConfig:
        """A copy with other values."""
        import dataclasses

        return dataclasses.replace(self, **changes)
