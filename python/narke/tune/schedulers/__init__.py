"""Schedulers: which trials go on, and which run next."""

from __future__ import annotations

import inspect
from typing import Any

from narke.tune.schedulers.async_hyperband import ASHAScheduler, AsyncHyperBandScheduler
from narke.tune.schedulers.hb_bohb import HyperBandForBOHB
from narke.tune.schedulers.hyperband import HyperBandScheduler
from narke.tune.schedulers.median_stopping_rule import MedianStoppingRule
from narke.tune.schedulers.pbt import PopulationBasedTraining, PopulationBasedTrainingReplay
from narke.tune.schedulers.resource_changing_scheduler import ResourceChangingScheduler
from narke.tune.schedulers.trial_scheduler import FIFOScheduler, TrialScheduler

__all__ = [
    "ASHAScheduler",
    "AsyncHyperBandScheduler",
    "FIFOScheduler",
    "HyperBandForBOHB",
    "HyperBandScheduler",
    "MedianStoppingRule",
    "PopulationBasedTraining",
    "PopulationBasedTrainingReplay",
    "ResourceChangingScheduler",
    "SCHEDULER_IMPORT",
    "TrialScheduler",
    "create_scheduler",
]


def _pb2() -> type:
    from narke.tune.schedulers.pb2 import PB2

    return PB2


SCHEDULER_IMPORT: dict[str, Any] = {
    "fifo": FIFOScheduler,
    "async_hyperband": AsyncHyperBandScheduler,
    "asynchyperband": AsyncHyperBandScheduler,
    "asha": AsyncHyperBandScheduler,
    "median_stopping_rule": MedianStoppingRule,
    "medianstopping": MedianStoppingRule,
    "hyperband": HyperBandScheduler,
    "hb_bohb": HyperBandForBOHB,
    "pbt": PopulationBasedTraining,
    "pbt_replay": PopulationBasedTrainingReplay,
    "pb2": _pb2,
    "resource_changing": ResourceChangingScheduler,
}


def create_scheduler(scheduler: str, **kwargs: Any) -> TrialScheduler:
    """Make a scheduler by name.

    Args:
        scheduler: one of `SCHEDULER_IMPORT`, in any case.
        kwargs: for its constructor; those it does not take are left out.

    Raises:
        ValueError: no such name.
    """
    name = scheduler.lower()
    if name not in SCHEDULER_IMPORT:
        raise ValueError(
            f"there is no scheduler {scheduler!r}; there are {', '.join(sorted(SCHEDULER_IMPORT))}"
        )
    found: Any = SCHEDULER_IMPORT[name]
    cls: Any = found if inspect.isclass(found) else found()
    known = inspect.signature(cls).parameters
    return cls(**{key: value for key, value in kwargs.items() if key in known})
