"""What ends trials and experiments."""

from __future__ import annotations

from narke.tune.stopper.experiment_plateau import ExperimentPlateauStopper
from narke.tune.stopper.function_stopper import FunctionStopper
from narke.tune.stopper.maximum_iteration import MaximumIterationStopper
from narke.tune.stopper.noop import NoopStopper
from narke.tune.stopper.stopper import CombinedStopper, Stopper
from narke.tune.stopper.timeout import TimeoutStopper
from narke.tune.stopper.trial_plateau import TrialPlateauStopper

__all__ = [
    "CombinedStopper",
    "ExperimentPlateauStopper",
    "FunctionStopper",
    "MaximumIterationStopper",
    "NoopStopper",
    "Stopper",
    "TimeoutStopper",
    "TrialPlateauStopper",
]
