"""`Searcher`: what suggests configurations and learns from their results."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from narke.tune._files import write_whole

if TYPE_CHECKING:
    from narke.tune.analysis.experiment_analysis import ExperimentAnalysis
    from narke.tune.experiment.trial import Trial

__all__ = ["ConcurrencyLimiter", "Searcher"]  # noqa: F822  # found by __getattr__


class Searcher:
    """Suggests configurations one at a time; the base of all searchers, also of users' own.

    A subclass implements `suggest` and `on_trial_complete`, and `save` and `restore` (or `get_state` and `set_state`)
    so that an experiment can go on after a crash.

    Args:
        metric: what is to be optimized, or a list of metrics.
        mode: "min" or "max", or a list with one for each metric.

    Raises:
        ValueError: another mode.
    """

    FINISHED = "FINISHED"
    CKPT_FILE_TMPL = "searcher-state-{}.pkl"

    def __init__(self, metric: str | list[str] | None = None, mode: str | list[str] | None = None) -> None:
        self._metric: Any = metric
        self._mode: Any = mode
        if mode is None:
            return
        modes = [mode] if isinstance(mode, str) else list(mode)
        wrong = [each for each in modes if each not in ("min", "max", "obs")]
        if wrong:
            raise ValueError(f"`mode` must be 'min' or 'max' for each metric, not {wrong[0]!r}")
        if isinstance(mode, list) != isinstance(metric, list) and metric is not None:
            raise ValueError(f"`mode` and `metric` must both be lists or both strings: {mode!r}, {metric!r}")

    @property
    def metric(self) -> str | list[str] | None:
        """What is optimized."""
        return getattr(self, "_metric", None)

    @property
    def mode(self) -> str | list[str] | None:
        """ "min" or "max", or one for each metric."""
        return getattr(self, "_mode", None)

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Take metric, mode and search space from the experiment, unless this has its own.

        Returns:
            whether they were taken; a searcher that answers False searches its own space.
        """
        return False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next configuration, None to be asked later, or `Searcher.FINISHED`.

        Args:
            trial_id: of the trial that will run with it; results come back under it.
        """
        raise NotImplementedError

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Learn of an intermediate result."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Learn of the end of a trial.

        Args:
            trial_id: of the trial.
            result: its last result; None if it failed or stopped before it had one.
            error: whether it failed.
        """
        raise NotImplementedError

    def add_evaluated_trials(
        self, trials_or_analysis: Trial | list[Trial] | ExperimentAnalysis, metric: str
    ) -> None:
        """Learn from trials of another experiment.

        Args:
            trials_or_analysis: a trial, several, or an analysis.
            metric: the reported value that counts.
        """
        if self.add_evaluated_point is _base_add_evaluated_point(self):
            raise NotImplementedError(f"{type(self).__name__} cannot learn from points evaluated elsewhere")
        given = getattr(trials_or_analysis, "trials", trials_or_analysis)
        for trial in given if isinstance(given, (list, tuple)) else [given]:
            self._add_trial(trial, metric)  # type: ignore[arg-type]

    def _add_trial(self, trial: Trial, metric: str) -> None:
        result = trial.last_result or {}
        if trial.status == "ERROR" or metric not in result:
            return
        history = getattr(trial, "metric_n_steps", {}).get(metric, {})
        longest: Any = max(history.values(), key=len, default=[])
        self.add_evaluated_point(
            parameters=trial.config,
            value=result[metric],
            error=False,
            pruned=trial.status != "TERMINATED",
            intermediate_values=list(longest) or None,
        )

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: float,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Learn from a point that was evaluated elsewhere.

        Args:
            parameters: the configuration.
            value: of the metric.
            error: whether its trial failed.
            pruned: whether it was stopped early.
            intermediate_values: earlier values of the metric.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot learn from points evaluated elsewhere")

    def save(self, checkpoint_path: str) -> None:
        """Write the searcher's state to a file."""
        raise NotImplementedError(
            f"{type(self).__name__} has no save: an experiment restored starts it afresh"
        )

    def restore(self, checkpoint_path: str) -> None:
        """Take the state from a file that `save` wrote."""
        raise NotImplementedError(f"{type(self).__name__} has no restore")

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Limit the trials under way at once; returns whether this searcher heeds it itself."""
        return False

    def get_state(self) -> dict[str, Any] | None:
        """Return what `set_state` takes; None from a searcher without."""
        return None

    def set_state(self, state: dict[str, Any]) -> None:
        """Take a state of `get_state`."""
        raise NotImplementedError(f"{type(self).__name__} has no set_state")

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Write the state into a folder as ``searcher-state-<session_str>.pkl``."""
        target = os.path.join(checkpoint_dir, self.CKPT_FILE_TMPL.format(session_str))
        draft = os.path.join(checkpoint_dir, f".tmp_{os.path.basename(target)}")
        try:
            self.save(draft)
        except NotImplementedError:
            return
        if os.path.exists(draft):
            os.replace(draft, target)

    def restore_from_dir(self, checkpoint_dir: str) -> None:
        """Take the newest state that `save_to_dir` wrote into a folder.

        Raises:
            RuntimeError: there is none.
        """
        found = glob.glob(os.path.join(checkpoint_dir, self.CKPT_FILE_TMPL.format("*")))
        if not found:
            raise RuntimeError(
                f"there is no state of {type(self).__name__} in {checkpoint_dir} (searcher-state-*.pkl): "
                "the searcher begins afresh, or the folder is another experiment's"
            )
        self.restore(max(found, key=os.path.getmtime))

    def on_pause(self, trial_id: str) -> None:
        """Learn that a trial was paused."""

    def on_unpause(self, trial_id: str) -> None:
        """Learn that a paused trial goes on."""


def _base_add_evaluated_point(searcher: Searcher) -> Callable[..., Any] | None:
    base = type(searcher).add_evaluated_point is Searcher.add_evaluated_point
    return searcher.add_evaluated_point if base else None


def can_add_points(searcher: Any) -> bool:
    """Whether a searcher learns from points evaluated elsewhere."""
    inner = searcher
    while isinstance(getattr(inner, "searcher", None), Searcher):
        inner = inner.searcher
    return getattr(type(inner), "add_evaluated_point", None) is not Searcher.add_evaluated_point


def pickle_state(searcher: Any, path: str, leave_out: tuple[str, ...] = ()) -> None:
    """Write the attributes of a searcher, without some, to a file."""
    from narke import cloudpickle

    state = {name: value for name, value in vars(searcher).items() if name not in leave_out}
    write_whole(path, cloudpickle.dumps(state))


def unpickle_state(searcher: Any, path: str) -> None:
    """Take the attributes that `pickle_state` wrote."""
    from narke import cloudpickle

    with open(path, "rb") as file:
        vars(searcher).update(cloudpickle.load(file))


def __getattr__(name: str) -> Any:
    if name == "ConcurrencyLimiter":
        from narke.tune.search.concurrency_limiter import ConcurrencyLimiter

        return ConcurrencyLimiter
    raise AttributeError(f"narke.tune.search.searcher has no {name!r}")
