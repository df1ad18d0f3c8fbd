"""`ResultGrid`: the results of a search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from narke.air.result import Result
from narke.tune.analysis.experiment_analysis import ExperimentAnalysis
from narke.tune.error import TuneError
from narke.tune.experiment.trial import Trial

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.fs

__all__ = ["ResultGrid"]


class ResultGrid:
    """A `Result` for each trial. It is a sequence; `Tuner.fit` makes it.

    Args:
        experiment_analysis: the experiment.
    """

    def __init__(self, experiment_analysis: ExperimentAnalysis) -> None:
        self._experiment_analysis = experiment_analysis
        self._made: dict[str, Result] = {}

    @property
    def experiment_path(self) -> str:
        """The experiment's folder."""
        return self._experiment_analysis.experiment_path

    @property
    def filesystem(self) -> pyarrow.fs.FileSystem:
        """The filesystem that `experiment_path` lies on."""
        return self._experiment_analysis._fs

    def get_best_result(
        self,
        metric: str | None = None,
        mode: str | None = None,
        scope: str = "last",
        filter_nan_and_inf: bool = True,
    ) -> Result:
        """Return the best trial's result; see `ExperimentAnalysis.get_best_trial`.

        Raises:
            ValueError: no metric or mode is known.
            RuntimeError: no trial has a number for the metric.
        """
        analysis = self._experiment_analysis
        if len(analysis.trials) == 1:
            return self[0]
        for name, given, default in (
            ("metric", metric, analysis.default_metric),
            ("mode", mode, analysis.default_mode),
        ):
            if not given and not default:
                raise ValueError(
                    f"No {name} is provided. Either pass in a `{name}` arg to `get_best_result` or specify a {name} in "
                    "the `TuneConfig` of your `Tuner`."
                )
        best = analysis.get_best_trial(metric, mode, scope, filter_nan_and_inf)
        if best is None:
            reported = sorted({name for trial in analysis.trials for name in trial.metric_analysis})
            raise RuntimeError(
                "No best trial found for the given metric: "
                f"{metric or analysis.default_metric}. This means that no trial has reported this metric, or all "
                f"values reported for this metric are NaN. Reported were: {', '.join(reported) or 'nothing'}. To not "
                "ignore NaN values, you can set the `filter_nan_and_inf` arg to False."
            )
        return self._result(best)

    def get_dataframe(self, filter_metric: str | None = None, filter_mode: str | None = None) -> pd.DataFrame:
        """Return a row for each trial.

        Args:
            filter_metric, filter_mode: the result with the best value; the last one if None.
        """
        return self._experiment_analysis.dataframe(metric=filter_metric, mode=filter_mode)

    def __len__(self) -> int:
        return len(self._experiment_analysis.trials)

    def __getitem__(self, i: int) -> Result:
        return self._result(self._experiment_analysis.trials[i])

    def __iter__(self) -> Iterator[Result]:
        return (self[i] for i in range(len(self)))

    @property
    def errors(self) -> list[Exception]:
        """The errors of trials that failed."""
        trials = self._experiment_analysis.trials
        return [error for error in (_error_of(trial) for trial in trials) if error is not None]

    @property
    def num_errors(self) -> int:
        """How many trials failed."""
        return sum(trial.status == Trial.ERROR for trial in self._experiment_analysis.trials)

    @property
    def num_terminated(self) -> int:
        """How many trials ended well."""
        return sum(trial.status == Trial.TERMINATED for trial in self._experiment_analysis.trials)

    def _result(self, trial: Trial) -> Result:
        if trial.trial_id not in self._made:
            self._made[trial.trial_id] = _LazyResult(self._experiment_analysis, trial)
        return self._made[trial.trial_id]

    def __repr__(self) -> str:
        return f"ResultGrid<[\n{_indented([repr(result) for result in self])}\n]>"


class _LazyResult(Result):
    """A trial's result; its table is read when it is looked at."""

    def __init__(self, analysis: ExperimentAnalysis, trial: Trial) -> None:
        self._analysis: ExperimentAnalysis = analysis
        self._trial_id = trial.trial_id
        super().__init__(
            metrics=trial.last_result,
            checkpoint=trial.checkpoint,
            error=_error_of(trial),
            path=trial.path or "",
            best_checkpoints=[
                (each.checkpoint, each.metrics)
                for each in trial.get_trial_checkpoints()
                if each.checkpoint is not None
            ],
            _storage_filesystem=analysis._fs,
        )
        self._config = trial.config

    @property
    def config(self) -> dict[str, Any] | None:
        """The trial's configuration."""
        return self._config

    @property  # type: ignore[override]
    def metrics_dataframe(self) -> pd.DataFrame | None:  # type: ignore[override]
        """A row for each report, with the configuration under "config/..."."""
        frame = self._analysis.trial_dataframes.get(self._trial_id)
        if frame is None or frame.empty:
            return None
        from narke.tune.search.util import flattened

        frame = frame.copy()
        for key, value in flattened({"config": self._config}).items():
            if key not in frame:
                frame[key] = [value] * len(frame)
        return frame

    @metrics_dataframe.setter
    def metrics_dataframe(self, value: Any) -> None:
        """Ignored: the dataclass sets its default."""


def _error_of(trial: Trial) -> Exception | None:
    if trial.status != Trial.ERROR:
        return None
    return trial.get_error() or TuneError(f"trial {trial} failed; see {trial.error_file}")


def _indented(parts: list[str]) -> str:
    return ",\n".join("  " + part for part in parts)
