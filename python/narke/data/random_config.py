"""Seeds of random operators."""

from __future__ import annotations

import dataclasses
import time
from typing import Any


@dataclasses.dataclass(frozen=True)
class RandomSeedConfig:
    """The seed of a random operator.

    Args:
        seed: None draws anew each time. reseed_after_execution: each execution draws otherwise, by its number.
        use_timestamp_as_default: take the time for a seed when there is none.
    """

    seed: int | None = None
    reseed_after_execution: bool = True
    use_timestamp_as_default: bool = False

    def __post_init__(self) -> None:
        if self.seed is not None and not isinstance(self.seed, int):
            raise ValueError(f"RandomSeedConfig: seed must be a number or None, not {self.seed!r}")

    @staticmethod
    def create_seed_config(seed: Any, *, use_timestamp_as_default: bool = False) -> RandomSeedConfig:
        """The configuration that an argument `seed` means: a number (the same each time), None, or a configuration."""
        if isinstance(seed, RandomSeedConfig):
            return seed
        return RandomSeedConfig(seed, False, use_timestamp_as_default)

    def get_seed_tuple(self, *, data_context: Any) -> tuple[int, ...] | None:
        """What seeds this execution; None: nothing."""
        if self.seed is None:
            return (time.time_ns(),) if self.use_timestamp_as_default else None
        if not self.reseed_after_execution:
            return (self.seed,)
        number = data_context.get_config("execution_idx", 0)
        data_context.set_config("execution_idx", number + 1)
        return (self.seed, number)
