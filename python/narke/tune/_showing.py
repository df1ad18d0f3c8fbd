"""Which reporter shows an experiment's progress."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from narke.tune.experimental.output import AirVerbosity, TuneTerminalReporter, get_air_verbosity
from narke.tune.progress_reporter import (
    IS_NOTEBOOK,
    JupyterNotebookReporter,
    ProgressReporter,
    TrialProgressCallback,
)
from narke.tune.utils.log import Verbosity, set_verbosity

if TYPE_CHECKING:
    from narke.tune.execution.tune_controller import TuneController

__all__ = ["choose_reporter"]


class _Silent:
    """Shows nothing."""

    callbacks: list = []

    def begin(self, total: int) -> None:
        """Before the first trial."""

    def report(self, controller: TuneController) -> None:
        """After each step."""

    def end(self, controller: TuneController) -> None:
        """After the last."""


class _Terminal(_Silent):
    """The present look."""

    def __init__(self, reporter: TuneTerminalReporter, session: Any) -> None:
        self._reporter = reporter
        self._session = session
        self.callbacks = [reporter]

    def begin(self, total: int) -> None:
        """Say what is run."""
        session = self._session
        searcher = getattr(session.search, "searcher", session.search)
        self._reporter.experiment_started(
            session.experiments[0].name,
            session.experiments[0].path,
            type(searcher).__name__,
            type(session.controller.scheduler_alg).__name__,
            total,
            tensorboard_path=session.local_path,
        )

    def report(self, controller: TuneController) -> None:
        """Show the state from time to time."""
        self._reporter.print_heartbeat(controller._all())


class _Chosen(_Silent):
    """A reporter that the program gave, or the one for notebooks."""

    def __init__(
        self, reporter: ProgressReporter, verbose: int, metric: str | None, mode: str | None
    ) -> None:
        self._reporter = reporter
        self._search = (metric, mode)
        self._quiet = verbose < 1
        self.callbacks = [TrialProgressCallback(metric=metric)] if verbose > 2 else []

    def begin(self, total: int) -> None:
        """Tell the reporter what is known."""
        metric, mode = self._search
        known = total if total < float("inf") else None
        self._reporter.setup(start_time=time.time(), total_samples=known, metric=metric, mode=mode)

    def report(self, controller: TuneController) -> None:
        """Have it report when it wants to."""
        trials = controller._all()
        if not self._quiet and self._reporter.should_report(trials, done=False):
            self._reporter.report(list(trials), False, controller.scheduler_alg.debug_string())

    def end(self, controller: TuneController) -> None:
        """Have it report for the last time."""
        trials = controller.get_trials()
        if not self._quiet and self._reporter.should_report(trials, done=True):
            self._reporter.report(trials, True, controller.scheduler_alg.debug_string())


def choose_reporter(verbose: Any, given: Any, session: Any, metric: str | None, mode: str | None) -> Any:
    """The reporter of a run.

    Args:
        verbose: 0 to 3, a `Verbosity` or an `AirVerbosity`; 1 if None.
        given: the program's reporter.
        session: the run.
        metric, mode: what is optimized.

    Raises:
        ValueError: `verbose` is none of these.
    """
    level = get_air_verbosity(AirVerbosity.DEFAULT if verbose is None else verbose)
    if level is None:
        raise ValueError(f"verbose is {verbose!r}; it must be a number from 0 to 3")
    set_verbosity(verbose if isinstance(verbose, (int, Verbosity)) else int(level))
    number = int(verbose if isinstance(verbose, int) else level)
    if given is not None:
        return _Chosen(given, number, metric, mode)
    if level == AirVerbosity.SILENT:
        return _Silent()
    if IS_NOTEBOOK:
        return _Chosen(JupyterNotebookReporter(), number, metric, mode)
    return _Terminal(TuneTerminalReporter(level, metric=metric, mode=mode), session)
