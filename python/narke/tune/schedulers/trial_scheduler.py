"""`TrialScheduler`: decides after each result whether a trial goes on, and which trial runs next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narke.tune._files import write_whole
from narke.tune.result import DEFAULT_METRIC

if TYPE_CHECKING:
    from narke.tune.execution.tune_controller import TuneController
    from narke.tune.experiment.trial import Trial

__all__ = ["FIFOScheduler", "TrialScheduler"]


class TrialScheduler:
    """The base of all schedulers, also of users' own.

    `on_trial_result` answers CONTINUE, PAUSE, STOP, or NOOP if it has told the controller itself what to do.
    """

    CONTINUE = "CONTINUE"
    PAUSE = "PAUSE"
    STOP = "STOP"
    NOOP = "NOOP"

    _metric: Any = None
    _supports_buffered_results = True
    # Whether `save` can be read back into another run: only schedulers that hold no trial objects.
    is_restorable = False

    @property
    def metric(self) -> Any:
        """What is optimized, if it is known."""
        return self._metric

    @property
    def supports_buffered_results(self) -> bool:
        """Whether results may come several at a time."""
        return self._supports_buffered_results

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take metric and mode from the experiment, unless this has its own.

        Returns:
            whether they were taken, or are not needed.
        """
        if self._metric and metric:
            return False
        if metric:
            self._metric = metric
        if self._metric is None:
            self._metric = DEFAULT_METRIC
        return True

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """A new trial."""
        raise NotImplementedError

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """A trial failed for good."""
        raise NotImplementedError

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """A trial reported; returns what becomes of it."""
        raise NotImplementedError

    def on_trial_complete(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> None:
        """A trial ended."""
        raise NotImplementedError

    def on_trial_remove(self, tune_controller: TuneController, trial: Trial) -> None:
        """A trial that was pending or paused was ended."""
        raise NotImplementedError

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """Return the pending or paused trial that runs next, None for none."""
        raise NotImplementedError

    def debug_string(self) -> str:
        """A line about this for reports."""
        raise NotImplementedError

    def save(self, checkpoint_path: str) -> None:
        """Write the state to a file."""
        from narke import cloudpickle

        write_whole(checkpoint_path, cloudpickle.dumps(dict(vars(self))))

    def restore(self, checkpoint_path: str) -> None:
        """Take the state from a file that `save` wrote."""
        from narke import cloudpickle

        with open(checkpoint_path, "rb") as file:
            vars(self).update(cloudpickle.load(file))


class FIFOScheduler(TrialScheduler):
    """Runs trials to their end, in the order they were made."""

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """Nothing to note."""

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """Nothing to note."""

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """CONTINUE."""
        return TrialScheduler.CONTINUE

    def on_trial_complete(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> None:
        """Nothing to note."""

    def on_trial_remove(self, tune_controller: TuneController, trial: Trial) -> None:
        """Nothing to note."""

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """The trial that has been pending longest, else the first paused one."""
        first = tune_controller.first_pending()
        if first is not None:
            return first
        paused = [trial for trial in tune_controller.candidates() if trial.status == "PAUSED"]
        return paused[0] if paused else None

    def debug_string(self) -> str:
        """ "Using FIFO scheduling algorithm." """
        return "Using FIFO scheduling algorithm."
