"""The present look of progress in the terminal: what runs, a status table from time to time, a box for each end."""

from __future__ import annotations

import collections
import time
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from narke.tune._tables import as_text, best_trial, duration_text, grid
from narke.tune.callback import Callback
from narke.tune.experiment.trial import Trial
from narke.tune.progress_reporter import IS_NOTEBOOK
from narke.tune.result import AUTO_RESULT_KEYS, TIME_TOTAL_S, TRAINING_ITERATION
from narke.tune.search.util import flattened

if TYPE_CHECKING:
    from narke.train._checkpoint import Checkpoint

__all__ = [
    "AIR_TABULATE_TABLEFMT",
    "BLACKLISTED_KEYS",
    "DEFAULT_COLUMNS",
    "IS_NOTEBOOK",
    "ORDER",
    "VALID_SUMMARY_TYPES",
    "AirVerbosity",
    "ProgressReporter",
    "TrainReporter",
    "TuneReporterBase",
    "TuneTerminalReporter",
    "get_air_verbosity",
]

AIR_TABULATE_TABLEFMT = "rounded_outline"
ORDER = [Trial.RUNNING, Trial.TERMINATED, Trial.PAUSED, Trial.PENDING, Trial.ERROR]
VALID_SUMMARY_TYPES = {int, float, np.float32, np.float64, np.int32, np.int64, type(None)}
DEFAULT_COLUMNS = collections.OrderedDict({TRAINING_ITERATION: "iter", TIME_TOTAL_S: "total time (s)"})
BLACKLISTED_KEYS = {
    "config",
    "date",
    "done",
    "experiment_tag",
    "hostname",
    "iterations_since_restore",
    "node_ip",
    "pid",
    "should_checkpoint",
    "time_since_restore",
    "timestamp",
    "trial_id",
    "_report_on",
    "checkpoint_dir_name",
}
_MAX_ROWS = 20


class AirVerbosity(IntEnum):
    """How much is shown."""

    SILENT = 0
    DEFAULT = 1
    VERBOSE = 2

    def __repr__(self) -> str:
        return str(self.value)


def get_air_verbosity(verbose: Any) -> AirVerbosity | None:
    """The verbosity that a number or member means; None of what is something else."""
    if isinstance(verbose, (bool, int)):
        return AirVerbosity(min(int(verbose), AirVerbosity.VERBOSE))
    return AirVerbosity(min(int(verbose.value), 2)) if hasattr(verbose, "value") else None


class ProgressReporter(Callback):
    """Prints what happens to trials.

    Args:
        verbosity: how much.
        progress_metrics: the only metrics shown; all if None.
    """

    _heartbeat_s = 30.0
    _addressing = "Trial {}"

    def __init__(self, verbosity: AirVerbosity, progress_metrics: list[str] | None = None) -> None:
        self._verbosity = verbosity
        self._progress_metrics = set(progress_metrics or ())
        self._start_time = time.time()
        self._last_heartbeat = time.time()
        self._total = 0

    @property
    def verbosity(self) -> AirVerbosity:
        """How much is shown."""
        return self._verbosity

    def setup(self, start_time: float | None = None, **kwargs: Any) -> None:  # type: ignore[override]
        """Note when the experiment began."""
        self._start_time = start_time if start_time is not None else time.time()

    def experiment_started(
        self,
        experiment_name: str,
        experiment_path: str,
        searcher_str: str,
        scheduler_str: str,
        total_num_samples: int,
        tensorboard_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Say what is run, and where the results go."""
        self._announce(experiment_name, searcher_str, scheduler_str, total_num_samples)
        self._print(f"\nView detailed results here: {experiment_path}")
        if tensorboard_path:
            self._print(
                f"To visualize your results with TensorBoard, run: `tensorboard --logdir {tensorboard_path}`\n"
            )

    def _announce(self, name: str, searcher: str, scheduler: str, total: float) -> None:
        """Say what is run; for subclasses."""

    def _print(self, text: str, least: AirVerbosity = AirVerbosity.DEFAULT) -> None:
        if self._verbosity >= least:
            print(text, flush=True)

    def _running_for(self) -> str:
        return f"Total running time: {duration_text(time.time() - self._start_time)}"

    def print_heartbeat(self, trials: list[Trial], *args: Any, force: bool = False) -> None:
        """Print the state when the last time is long enough ago."""
        if force or time.time() - self._last_heartbeat >= self._heartbeat_s:
            self._last_heartbeat = time.time()
            self._print_heartbeat(trials, *args, force=force)

    def _print_heartbeat(self, trials: list[Trial], *args: Any, force: bool = False) -> None:
        """Print the state; for subclasses."""

    def _address(self, trial: Trial) -> str:
        return self._addressing.format(trial)

    def _result_box(self, trial: Trial) -> str:
        flat = flattened(
            {key: value for key, value in trial.last_result.items() if key not in BLACKLISTED_KEYS}
        )
        shown = [
            (key, value)
            for key, value in flat.items()
            if type(value) in VALID_SUMMARY_TYPES
            and (not self._progress_metrics or key in self._progress_metrics)
        ]
        return grid(shown, f"{self._address(trial)} result")

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Print the result, if much is shown."""
        if self._verbosity >= AirVerbosity.VERBOSE:
            at = result.get(TRAINING_ITERATION)
            self._print(f"{self._address(trial)} finished iteration {at}. {self._running_for()}")

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Print the last result."""
        if self._verbosity >= AirVerbosity.VERBOSE or self._total <= 50:
            done = trial.last_result.get(TRAINING_ITERATION, 0)
            self._print(f"\n{self._address(trial)} completed after {done} iterations. {self._running_for()}")
            if self._verbosity >= AirVerbosity.DEFAULT and trial.last_result:
                self._print(self._result_box(trial))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Print where the error is."""
        done = trial.last_result.get(TRAINING_ITERATION, 0)
        self._print(f"\n{self._address(trial)} errored after {done} iterations. {self._running_for()}")
        self._print(f"Error file: {trial.error_file}")

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Print that the trial begins again."""
        self._print(f"\n{self._address(trial)} failed (failure {trial.num_failures}) and begins again")

    def on_checkpoint(
        self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Checkpoint, **info: Any
    ) -> None:
        """Print where a checkpoint is, if much is shown."""
        if checkpoint is not None:
            self._print(f"{self._address(trial)} saved a checkpoint: {checkpoint.path}", AirVerbosity.VERBOSE)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Print the configuration, if much is shown."""
        if self._verbosity >= AirVerbosity.VERBOSE:
            config = list(flattened(trial.evaluated_params or trial.config).items())
            self._print(f"\n{self._address(trial)} started.")
            if config:
                self._print(grid(config, f"{self._address(trial)} config"))

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Print the last state."""
        self.print_heartbeat(trials, force=True)


class TuneReporterBase(ProgressReporter):
    """Prints tables of trials.

    Args:
        verbosity: how much.
        num_samples: samples of the space.
        metric, mode: what is optimized, and how.
        config: the search space.
        progress_metrics: the only metrics shown; all if None.
    """

    def __init__(
        self,
        verbosity: AirVerbosity,
        num_samples: int = 0,
        metric: str | None = None,
        mode: str | None = None,
        config: dict[str, Any] | None = None,
        progress_metrics: list[str] | None = None,
    ) -> None:
        super().__init__(verbosity=verbosity, progress_metrics=progress_metrics)
        self._num_samples = num_samples
        self._metric: Any = metric
        self._mode: Any = mode
        self._config = config or {}

    def setup(self, start_time: float | None = None, total_samples: int | None = None, **kwargs: Any) -> None:  # type: ignore[override]
        """Take what is known of the experiment."""
        super().setup(start_time=start_time)
        self._total = total_samples or kwargs.get("total_num_samples") or 0

    def _state_lines(self, trials: list[Trial]) -> list[str]:
        counts = {status: sum(trial.status == status for trial in trials) for status in ORDER}
        shown = " | ".join(f"{count} {status}" for status, count in counts.items() if count)
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        lines = [f"\nTrial status: {shown}", f"Current time: {when}. {self._running_for()}"]
        best = best_trial(trials, self._metric, self._mode)
        if best is not None:
            value = flattened(best.last_result)[self._metric]
            lines.append(
                f"Current best trial: {best.trial_id} with {self._metric}={value} and params={best.config}"
            )
        return lines

    def _table(self, trials: list[Trial]) -> str:
        shown = sorted(trials, key=lambda trial: ORDER.index(trial.status))[:_MAX_ROWS]
        parameters: dict[str, None] = {}
        metrics: dict[str, str] = dict(DEFAULT_COLUMNS)
        for trial in shown:
            parameters.update(dict.fromkeys(flattened(trial.evaluated_params)))
            for key, value in flattened(trial.last_result).items():
                hidden = key in AUTO_RESULT_KEYS or key in BLACKLISTED_KEYS or key.startswith("config/")
                if (
                    not hidden
                    and type(value) in VALID_SUMMARY_TYPES
                    and value is not None
                    and len(metrics) < 6
                ):
                    metrics[key] = key
        rows = []
        for trial in shown:
            flat, config = flattened(trial.last_result), flattened(trial.config)
            row = [str(trial), trial.status, *[config.get(key) for key in parameters]]
            rows.append([*row, *[flat.get(key) for key in metrics]])
        text = as_text(["Trial name", "status", *parameters, *metrics.values()], rows, 24)
        return text + (f"\n{len(trials) - len(shown)} more trials" if len(trials) > len(shown) else "")


class TuneTerminalReporter(TuneReporterBase):
    """Prints progress in the terminal; arguments as of `TuneReporterBase`."""

    def _announce(self, name: str, searcher: str, scheduler: str, total: float) -> None:
        facts = [
            ("Search algorithm", searcher),
            ("Scheduler", scheduler),
            ("Number of trials", total if total < float("inf") else "infinite"),
        ]
        self._total = int(total) if total < float("inf") else 0
        self._print(grid(facts, f"Configuration for experiment     {name}"))

    def _print_heartbeat(self, trials: list[Trial], *args: Any, force: bool = False) -> None:
        if self._verbosity >= AirVerbosity.DEFAULT:
            print(
                "\n".join([*self._state_lines(trials), *([self._table(trials)] if trials else [])]),
                flush=True,
            )


class TrainReporter(ProgressReporter):
    """Prints the progress of one training run.

    Args:
        verbosity: how much.
        progress_metrics: the only metrics shown; all if None.
    """

    _addressing = "Training"

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Print the result."""
        at = result.get(TRAINING_ITERATION)
        self._print(
            f"\nTraining finished iteration {at} at {time.strftime('%Y-%m-%d %H:%M:%S')}. {self._running_for()}"
        )
        if self._verbosity >= AirVerbosity.DEFAULT and trial.last_result:
            self._print(self._result_box(trial))
