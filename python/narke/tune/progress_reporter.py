"""Reporters of progress that programs choose and adapt: for the terminal and for notebooks."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from narke.tune._tables import as_html, as_text, best_trial, duration_text
from narke.tune.callback import Callback
from narke.tune.experiment.trial import Trial
from narke.tune.logger.logger import pretty_print
from narke.tune.result import (
    AUTO_RESULT_KEYS,
    MEAN_ACCURACY,
    MEAN_LOSS,
    NODE_IP,
    PID,
    TIME_TOTAL_S,
    TIMESTEPS_TOTAL,
    TRAINING_ITERATION,
)
from narke.tune.search.util import flattened

if TYPE_CHECKING:
    from narke.tune.stopper import Stopper

__all__ = [
    "CLIReporter",
    "IS_NOTEBOOK",
    "JupyterNotebookReporter",
    "ProgressReporter",
    "RemoteReporterMixin",
    "SKIP_RESULTS_IN_REPORT",
    "TrialProgressCallback",
    "TuneReporterBase",
]


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


IS_NOTEBOOK = "IPython" in sys.modules and _in_notebook()
SKIP_RESULTS_IN_REPORT = {"config", "trial_id", "experiment_tag", "done"}
_ORDER = (Trial.RUNNING, Trial.TERMINATED, Trial.PAUSED, Trial.PENDING, Trial.ERROR)


class ProgressReporter:
    """Shows an experiment's progress; the base of all reporters, also of users' own."""

    def setup(
        self,
        start_time: float | None = None,
        total_samples: int | None = None,
        metric: str | None = None,
        mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Before the first report.

        Args:
            start_time: of the experiment, seconds since the epoch.
            total_samples: trials that there will be.
            metric, mode: what is optimized.
            kwargs: further facts.
        """

    def should_report(self, trials: list[Trial], done: bool = False) -> bool:
        """Whether it is time to report."""
        return True

    def report(self, trials: list[Trial], done: bool, *sys_info: Any) -> None:
        """Report.

        Args:
            trials: all.
            done: whether this is the last report.
            sys_info: lines to show, too.
        """
        raise NotImplementedError


class TuneReporterBase(ProgressReporter):
    """Tables of trials.

    Args:
        metric_columns: metrics to show, or {metric: name of the column}; found by themselves if None.
        parameter_columns: parameters to show, in the same way; all if None.
        total_samples: trials that there will be.
        max_progress_rows, max_error_rows: the most rows of trials, and of errors.
        max_column_length: characters of a cell.
        max_report_frequency: seconds between reports.
        infer_limit: the most metrics found by themselves.
        print_intermediate_tables: report before the end; as the verbosity says if None.
        metric, mode: what is optimized, and how.
        sort_by_metric: order rows by it.
    """

    DEFAULT_COLUMNS = {
        MEAN_ACCURACY: "acc",
        MEAN_LOSS: "loss",
        TRAINING_ITERATION: "iter",
        TIME_TOTAL_S: "total time (s)",
        TIMESTEPS_TOTAL: "ts",
    }

    def __init__(
        self,
        *,
        metric_columns: list[str] | dict[str, str] | None = None,
        parameter_columns: list[str] | dict[str, str] | None = None,
        total_samples: int | None = None,
        max_progress_rows: int = 20,
        max_error_rows: int = 20,
        max_column_length: int = 20,
        max_report_frequency: int = 5,
        infer_limit: int = 3,
        print_intermediate_tables: bool | None = None,
        metric: str | None = None,
        mode: str | None = None,
        sort_by_metric: bool = False,
    ) -> None:
        self._metrics_override = metric_columns is not None
        self._metric_columns = (
            _named(metric_columns) if metric_columns is not None else dict(self.DEFAULT_COLUMNS)
        )
        self._parameter_columns = _named(parameter_columns or {})
        self._total_samples = total_samples
        self._max_progress_rows = max_progress_rows
        self._max_error_rows = max_error_rows
        self._max_column_length = max_column_length
        self._max_report_frequency = max_report_frequency
        self._infer_limit = infer_limit
        self._print_intermediate_tables = print_intermediate_tables
        if mode is not None and mode not in ("min", "max"):
            raise ValueError(f"`mode` must be 'min' or 'max', not {mode!r}")
        self._metric: Any = metric
        self._mode: Any = mode
        self._sort_by_metric = bool(metric and mode and sort_by_metric)
        self._last_report_time = 0.0
        self._start_time = time.time()

    def setup(
        self,
        start_time: float | None = None,
        total_samples: int | None = None,
        metric: str | None = None,
        mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Take what is known of the experiment."""
        self.set_start_time(start_time)
        self.set_total_samples(total_samples or 0)
        self.set_search_properties(metric, mode)

    def set_search_properties(self, metric: str | None, mode: str | None) -> bool:
        """Take metric and mode, unless this has its own; returns whether they were taken."""
        if (self._metric and metric) or (self._mode and mode):
            return False
        self._metric, self._mode = metric or self._metric, mode or self._mode
        return True

    def set_total_samples(self, total_samples: int) -> None:
        """Set how many trials there will be."""
        self._total_samples = total_samples

    def set_start_time(self, timestamp: float | None = None) -> None:
        """Set when the experiment began; now if None."""
        self._start_time = timestamp if timestamp is not None else time.time()

    def should_report(self, trials: list[Trial], done: bool = False) -> bool:
        """Whether the last report is long enough ago, or this is the last."""
        if done:
            return True
        if self._print_intermediate_tables is False:
            return False
        if time.time() - self._last_report_time > self._max_report_frequency:
            self._last_report_time = time.time()
            return True
        return False

    def add_metric_column(self, metric: str, representation: str | None = None) -> None:
        """Show a metric, under a name.

        Raises:
            ValueError: it is shown already.
        """
        if metric in self._metric_columns:
            raise ValueError(f"Column {metric} already exists.")
        self._metrics_override = True
        self._metric_columns[metric] = representation or metric

    def add_parameter_column(self, parameter: str, representation: str | None = None) -> None:
        """Show a parameter, under a name.

        Raises:
            ValueError: it is shown already.
        """
        if parameter in self._parameter_columns:
            raise ValueError(f"Column {parameter} already exists.")
        self._parameter_columns[parameter] = representation or parameter

    def _progress_html(self, trials: list[Trial], done: bool, *sys_info: Any) -> str:
        header, rows = self._table(trials, done)
        lines = "<br>".join(str(each) for each in (self._status_line(trials), *sys_info))
        return f"<div>{lines}{as_html(header, rows, self._max_column_length)}</div>"

    def _progress_str(self, trials: list[Trial], done: bool, *sys_info: Any, delim: str = "\n") -> str:
        header, rows = self._table(trials, done)
        parts = [self._status_line(trials), *map(str, sys_info)]
        if rows:
            parts.append(as_text(header, rows, self._max_column_length))
        if len(trials) > len(rows):
            parts.append(f"... {len(trials) - len(rows)} more trials not shown")
        failed = [trial for trial in trials if trial.status == Trial.ERROR][: self._max_error_rows]
        if failed:
            errors = [(str(trial), trial.num_failures, trial.error_file) for trial in failed]
            parts.append(f"Number of errored trials: {len(failed)}")
            parts.append(as_text(("Trial name", "# failures", "error file"), errors, 200))
        return delim.join(parts) + delim

    def _status_line(self, trials: Sequence[Trial]) -> str:
        counts = {status: sum(trial.status == status for trial in trials) for status in _ORDER}
        total = (
            self._total_samples
            if isinstance(self._total_samples, int) and self._total_samples
            else len(trials)
        )
        shown = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        lines = [
            f"== Status ==\nCurrent time: {time.strftime('%Y-%m-%d %H:%M:%S')} "
            f"(running for {duration_text(time.time() - self._start_time)})",
            f"Number of trials: {len(trials)}/{total} ({shown})",
        ]
        best = best_trial(trials, self._metric, self._mode)
        if best is not None:
            value = best.last_result.get(self._metric)
            lines.append(
                f"Current best trial: {best.trial_id} with {self._metric}={value} and parameters={best.config}"
            )
        return "\n".join(lines)

    def _table(self, trials: Sequence[Trial], done: bool) -> tuple[list[str], list[list[Any]]]:
        shown = self._shown(trials)
        parameters = self._parameter_columns or _named(_parameters_of(shown))
        metrics = dict(self._metric_columns)
        if not self._metrics_override:
            metrics.update(_named(self._inferred(shown, metrics)))
        flat = [flattened(trial.last_result) for trial in shown]
        present = {
            key: name for key, name in metrics.items() if any(each.get(key) is not None for each in flat)
        }
        header = ["Trial name", "status", "loc", *parameters.values(), *present.values()]
        rows = []
        for trial, result in zip(shown, flat, strict=True):
            where = f"{result[NODE_IP]}:{result[PID]}" if result.get(NODE_IP) else ""
            config = flattened(trial.config)
            values = [config.get(key) for key in parameters]
            rows.append([str(trial), trial.status, where, *values, *[result.get(key) for key in present]])
        return header, rows

    def _shown(self, trials: Sequence[Trial]) -> list[Trial]:
        ordered = sorted(trials, key=lambda trial: _ORDER.index(trial.status))
        if self._sort_by_metric and self._metric:
            sign = -1 if self._mode == "max" else 1
            ordered = sorted(
                ordered,
                key=lambda trial: sign * flattened(trial.last_result).get(self._metric, sign * float("inf")),
            )
        return ordered[: self._max_progress_rows]

    def _inferred(self, trials: Sequence[Trial], known: dict[str, str]) -> list[str]:
        found: list[str] = [self._metric] if self._metric else []
        for trial in trials:
            for key, value in flattened(trial.last_result).items():
                plain = isinstance(value, (int, float)) and not isinstance(value, bool)
                hidden = key in AUTO_RESULT_KEYS or key.startswith("config/") or key in known
                if plain and not hidden and key not in found and len(found) < self._infer_limit:
                    found.append(key)
        return found


def _named(columns: Any) -> dict[str, str]:
    return dict(columns) if isinstance(columns, dict) else {column: column for column in columns}


def _parameters_of(trials: Sequence[Trial]) -> list[str]:
    found: dict[str, None] = {}
    for trial in trials:
        found.update(dict.fromkeys(flattened(trial.evaluated_params)))
    return list(found)


class RemoteReporterMixin:
    """For reporters whose output another process shows."""

    _output_queue: Any = None

    @property
    def output_queue(self) -> Any:
        """Where texts are put for the process that shows them; None shows them here."""
        return self._output_queue

    @output_queue.setter
    def output_queue(self, value: Any) -> None:
        """Set the queue."""
        self._output_queue = value

    def display(self, string: str) -> None:
        """Show a text."""
        raise NotImplementedError


class CLIReporter(TuneReporterBase):
    """Shows tables in the terminal; arguments as of `TuneReporterBase`."""

    def report(self, trials: list[Trial], done: bool, *sys_info: Any) -> None:
        """Print a table."""
        print(self._progress_str(trials, done, *sys_info), flush=True)


class JupyterNotebookReporter(TuneReporterBase, RemoteReporterMixin):
    """Shows tables in a notebook.

    Args:
        overwrite: show each table in place of the one before.
        table: arguments of `TuneReporterBase`.

    """

    def __init__(self, *, overwrite: bool = True, **table: Any) -> None:
        super().__init__(**table)
        self._overwrite = overwrite
        self._handle: Any = None

    def report(self, trials: list[Trial], done: bool, *sys_info: Any) -> None:
        """Show a table."""
        text = self._progress_html(trials, done, *sys_info)
        if self.output_queue is not None:
            self.output_queue.put(text)
        else:
            self.display(text)

    def display(self, string: str) -> None:
        """Show HTML in the notebook."""
        from IPython.display import HTML, clear_output, display

        if self._overwrite:
            clear_output(wait=True)
        display(HTML(string))


class TrialProgressCallback(Callback):
    """Prints trials' results, errors and ends.

    Args:
        metric: shown when a trial ends.
        progress_metrics: the only ones shown of results; all if None.
    """

    def __init__(self, metric: str | None = None, progress_metrics: list[str] | None = None) -> None:
        self._metric = metric
        self._progress_metrics = set(progress_metrics or ())
        self._last_print = 0.0
        self._completed: set[str] = set()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Print the result."""
        self.log_result(trial, result)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Print the error."""
        self.log_result(trial, trial.last_result, error=True)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Print the last result."""
        if trial.trial_id not in self._completed:
            self.log_result(trial, {**trial.last_result, "done": True})

    def log_result(self, trial: Trial, result: dict[str, Any], error: bool = False) -> None:
        """Print a result."""
        done = bool(result.get("done"))
        if done:
            self._completed.add(trial.trial_id)
        self.display_result(trial, result, error, done)

    def print_result(self, trial: Trial, result: dict[str, Any], error: bool, done: bool) -> None:
        """Print a result as text."""
        state = "errored" if error else "completed" if done else "reported"
        hidden = set() if not self._progress_metrics else set(result) - self._progress_metrics
        print(
            f"Result for {trial} ({state}):\n{pretty_print(result, exclude=SKIP_RESULTS_IN_REPORT | hidden)}"
        )

    def display_result(self, trial: Trial, result: dict[str, Any], error: bool, done: bool) -> None:
        """Show a result; subclasses for notebooks differ."""
        self.print_result(trial, result, error, done)

    def generate_trial_table(self, trials: list[Trial], columns: list[str]) -> Any:
        """A table of trials as HTML."""
        rows = [
            [str(trial), *[flattened(trial.last_result).get(column) for column in columns]]
            for trial in trials
        ]
        return as_html(["Trial name", *columns], rows)

    def setup(self, stop: Stopper | None = None, **info: Any) -> None:  # type: ignore[override]
        """Nothing to prepare."""
