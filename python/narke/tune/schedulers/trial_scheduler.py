"""`TrialScheduler`: decides after each result whether a trial goes on, and which trial runs next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narke.tune._files import write_whole
from narke.tune.result import DEFAULT_METRIC

if TYPE_CHECKING:
    from narke.tune.execution.tune_controller import TuneController
    from narke.tune.experiment.trial import Trial

__all__ = ["ComparingScheduler", "FIFOScheduler", "TrialScheduler"]


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


class ComparingScheduler(FIFOScheduler):
    """The base of schedulers that compare trials by a metric.

    Args:
        time_attr: what counts as time in results.
        metric, mode: what is compared; the experiment's if None.

    Raises:
        ValueError: an unknown mode.
    """

    def __init__(self, time_attr: str, metric: str | None, mode: str | None) -> None:
        if mode is not None and mode not in ("min", "max"):
            raise ValueError(f"`mode` must be 'min' or 'max', not {mode!r}")
        self._time_attr = time_attr
        self._metric = metric
        self._mode = mode

    @property
    def _metric_op(self) -> float:
        """What a value is multiplied with so that greater is better."""
        return -1.0 if self._mode == "min" else 1.0

    def _is_told(self, result: dict[str, Any]) -> bool:
        """Whether a result has time and metric."""
        return self._time_attr in result and self._metric in result

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take metric and mode, unless this has its own."""
        if (self._metric and metric) or (self._mode and mode):
            return False
        self._metric, self._mode = metric or self._metric, mode or self._mode
        if self._metric is None and self._mode:
            self._metric = DEFAULT_METRIC
        return True

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """See that metric and mode are known.

        Raises:
            ValueError: they are not.
        """
        if not self._metric or not self._mode:
            raise ValueError(
                f"{type(self).__name__} has been instantiated without a valid `metric` ({self._metric}) or `mode` "
                f"({self._mode}) parameter. Either pass these parameters when instantiating the scheduler, or pass "
                "them as parameters to `tune.TuneConfig()`"
            )
