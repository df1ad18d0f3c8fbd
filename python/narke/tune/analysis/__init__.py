"""What came out of an experiment."""

from __future__ import annotations

from narke.tune.analysis.experiment_analysis import ExperimentAnalysis

__all__ = ["ExperimentAnalysis"]
