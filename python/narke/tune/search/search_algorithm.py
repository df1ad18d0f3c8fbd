"""`SearchAlgorithm`: what makes the trials of experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from narke.tune.experiment.experiment import Experiment
    from narke.tune.experiment.trial import Trial

__all__ = ["SearchAlgorithm"]


class SearchAlgorithm:
    """Makes trials one at a time; `SearchGenerator` and `BasicVariantGenerator` are the two ways to."""

    _finished = False
    _metric: str | None = None

    @property
    def metric(self) -> str | None:
        """What is optimized, if it is known."""
        return self._metric

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Take metric, mode and search space from the experiment.

        Returns:
            whether they were taken.
        """
        if self._metric and metric:
            return False
        if metric:
            self._metric = metric
        return True

    @property
    def total_samples(self) -> int:
        """How many trials there will be."""
        return 0

    def add_configurations(
        self, experiments: Experiment | list[Experiment] | dict[str, dict[str, Any]]
    ) -> None:
        """Take experiments to make trials of."""
        raise NotImplementedError

    def next_trial(self) -> Trial | None:
        """Return the next trial; None when there is none now."""
        raise NotImplementedError

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Learn of an intermediate result."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Learn of the end of a trial."""

    def is_finished(self) -> bool:
        """Whether no trial will come."""
        return self._finished

    def set_finished(self) -> None:
        """Make no more trials."""
        self._finished = True

    def has_checkpoint(self, dirpath: str) -> bool:
        """Whether a folder holds a state of this."""
        return False

    def save_to_dir(self, dirpath: str, **kwargs: Any) -> None:
        """Write the state into a folder."""

    def restore_from_dir(self, dirpath: str) -> None:
        """Take the state from a folder."""
