"""How much is shown."""

from __future__ import annotations

from enum import Enum

__all__ = ["Verbosity", "disable_ipython", "has_verbosity", "set_verbosity"]


class Verbosity(Enum):
    """Levels of what is shown."""

    V0_MINIMAL = 0
    V1_EXPERIMENT = 1
    V2_TRIAL_NORM = 2
    V3_TRIAL_DETAILS = 3

    def __int__(self) -> int:
        return self.value


verbosity: int | Verbosity = Verbosity.V3_TRIAL_DETAILS


def set_verbosity(level: int | Verbosity) -> None:
    """Set the level of this process."""
    global verbosity
    verbosity = Verbosity(min(int(level), 3)) if isinstance(level, int) else level


def has_verbosity(level: int | Verbosity) -> bool:
    """Whether things of a level are shown."""
    return int(verbosity) >= int(level)


def disable_ipython() -> None:
    """Have progress shown as text, also in a notebook."""
    from narke.tune import _showing, progress_reporter

    progress_reporter.IS_NOTEBOOK = False
    _showing.IS_NOTEBOOK = False
