"""`TuneConfig` and `ResumeConfig`."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from narke.tune.experiment.trial import Trial
    from narke.tune.schedulers import TrialScheduler
    from narke.tune.search import SearchAlgorithm, Searcher

__all__ = ["ResumeConfig", "TuneConfig"]


@dataclass
class TuneConfig:
    """How a search is run.

    Args:
        mode: "min" or "max".
        metric: what is optimized.
        search_alg: searcher; random and grid search if None.
        scheduler: decides which trials go on; all do if None.
        num_samples: how often the space is sampled (a grid multiplies); -1 without end.
        max_concurrent_trials: the most trials at once; None for as many as there are resources.
        time_budget_s: seconds, or a timedelta, after which all ends.
        reuse_actors: let one object of a trainable class run several trials, by its `reset_config`.
        trial_name_creator, trial_dirname_creator: make names of trials and their folders.
        chdir_to_trial_dir: kept for programs that pass it; the variable RAY_CHDIR_TO_TRIAL_DIR decides.
    """

    mode: str | None = None
    metric: str | None = None
    search_alg: Searcher | SearchAlgorithm | None = None
    scheduler: TrialScheduler | None = None
    num_samples: int = 1
    max_concurrent_trials: int | None = None
    time_budget_s: int | float | datetime.timedelta | None = None
    reuse_actors: bool = False
    trial_name_creator: Callable[[Trial], str] | None = None
    trial_dirname_creator: Callable[[Trial], str] | None = None
    chdir_to_trial_dir: bool = "DEPRECATED"  # type: ignore[assignment]


class _ResumeType(str, Enum):
    RESUME = "resume"
    RESTART = "restart"
    SKIP = "skip"

    def __repr__(self) -> str:
        return f"ResumeType.{self.name}"


@dataclass
class ResumeConfig:
    """What becomes of an experiment's trials when it is restored.

    RESUME goes on from the last checkpoint, RESTART begins anew, SKIP leaves a trial as it is.

    Args:
        finished: trials that ended well.
        unfinished: trials that had not ended.
        errored: trials that failed.

    Raises:
        ValueError: a value is none of these.
    """

    ResumeType = _ResumeType

    finished: str = _ResumeType.SKIP
    unfinished: str = _ResumeType.RESUME
    errored: str = _ResumeType.SKIP

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value not in list(_ResumeType):
                known = [kind.value for kind in _ResumeType]
                raise ValueError(f"ResumeConfig.{each.name} is {value!r}; it must be one of {known}")
