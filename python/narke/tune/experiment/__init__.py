"""Experiments and their trials."""

from __future__ import annotations

from narke.tune.experiment.experiment import Experiment, _convert_to_experiment_list
from narke.tune.experiment.trial import Trial

__all__ = ["Experiment", "Trial", "_convert_to_experiment_list"]
