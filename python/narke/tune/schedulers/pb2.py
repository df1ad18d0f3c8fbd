"""`PB2`: population based training whose changes a Gaussian process chooses."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from narke.tune.error import TuneError
from narke.tune.experiment.trial import Trial
from narke.tune.schedulers.pbt import PopulationBasedTraining

if TYPE_CHECKING:
    from narke.tune.execution.tune_controller import TuneController

__all__ = ["PB2", "explore", "import_pb2_dependencies", "select_config"]

logger = logging.getLogger(__name__)


def import_pb2_dependencies() -> tuple[Any, Any]:
    """Import what PB2 needs.

    Returns:
        (scikit-learn's GaussianProcessRegressor, True).

    Raises:
        ImportError: scikit-learn or scipy is not installed.
    """
    try:
        import scipy.optimize  # noqa: F401
        from sklearn.gaussian_process import GaussianProcessRegressor
    except ImportError as error:
        raise ImportError(f"PB2 needs scikit-learn and scipy: pip install scikit-learn ({error})") from error
    return GaussianProcessRegressor, True


def select_config(
    Xraw: Any, yraw: Any, current: Any, newpoint: Any, bounds: dict[str, list], num_f: int
) -> Any:
    """The next values of the hyperparameters.

    Args:
        Xraw: a row for each result: time and reward, then hyperparameters.
        yraw: how the reward changed after it.
        current: hyperparameters under way now, or None.
        newpoint: time and reward of the new point.
        bounds: (low, high) of each hyperparameter.
        num_f: how many columns are not hyperparameters.
    """
    from narke.tune.schedulers import pb2_utils

    GaussianProcessRegressor, _ = import_pb2_dependencies()
    limits = np.array(list(bounds.values()), dtype=float)
    length = pb2_utils.select_length(Xraw, yraw, limits, num_f)
    Xraw, yraw = Xraw[-length:], yraw[-length:]
    seen = Xraw[:, :num_f] if newpoint is None else np.vstack([Xraw[:, :num_f], newpoint])
    scale = np.concatenate([np.column_stack([seen.min(axis=0), seen.max(axis=0)]), limits]).T
    X, y = pb2_utils.normalize(Xraw, scale), pb2_utils.standardize(yraw).ravel()
    fixed = pb2_utils.normalize(np.asarray(newpoint, dtype=float), scale[:, :num_f])
    process = GaussianProcessRegressor(
        kernel=pb2_utils.TV_SquaredExp(), optimizer="fmin_l_bfgs_b", alpha=1e-5
    )
    process.fit(X, y)
    variance = process
    if current is not None and len(current):
        # Points under way have no value yet, but lower the deviation around them.
        pending = pb2_utils.normalize(np.atleast_2d(current), scale[:, num_f:])
        padded = np.hstack([np.repeat(fixed.reshape(1, -1), len(pending), axis=0), pending])
        variance = GaussianProcessRegressor(kernel=process.kernel_, optimizer=None, alpha=1e-5)
        variance.fit(np.vstack([X, padded]), np.concatenate([y, np.zeros(len(padded))]))
    found = pb2_utils.optimize_acq(pb2_utils.UCB, process, variance, fixed, num_f)
    return found * (limits[:, 1] - limits[:, 0]) + limits[:, 0]


def explore(
    data: Any, bounds: dict[str, list], current: Any, base: Trial, old: Trial, config: dict[str, Any]
) -> tuple[dict[str, Any], Any]:
    """A changed configuration of the donor `base` for the trial `old`.

    Args:
        data: table with Trial, Time, Reward, R_before and a column for each hyperparameter.
        bounds: (low, high) of each hyperparameter.
        current: hyperparameters under way now.
        base, old: the trials.
        config: the donor's configuration.

    Returns:
        (the configuration, the table).
    """
    names = list(bounds)
    frame = data.sort_values(by="Time").reset_index(drop=True)
    frame["y"] = frame.groupby(["Trial", *names])["Reward"].diff()
    frame["t_change"] = frame.groupby(["Trial", *names])["Time"].diff()
    frame = frame[frame["t_change"] > 0].reset_index(drop=True)
    frame["R_before"] = frame["Reward"] - frame["y"]
    frame["y"] = frame["y"] / frame["t_change"]
    frame = frame[~frame["y"].isna()].iloc[-1000:]
    if frame.empty:
        return copy.deepcopy(config), data
    X = frame[["Time", "R_before", *names]].to_numpy(dtype=float)
    last = data[data["Trial"] == str(base)].sort_values(by="Time").iloc[-1]
    newpoint = last[["Time", "Reward"]].to_numpy(dtype=float)
    chosen = select_config(X, frame["y"].to_numpy(dtype=float), current, newpoint, bounds, num_f=2)
    changed = copy.deepcopy(config)
    for name, value in zip(names, chosen, strict=True):
        whole = isinstance(config.get(name), int) and not isinstance(config.get(name), bool)
        changed[name] = int(round(value)) if whole else float(value)
    return changed, data


class PB2(PopulationBasedTraining):
    """Population based bandits: what trials change to is chosen by a Gaussian process over time and configuration.

    Args:
        hyperparam_bounds: {name: [low, high]} of each changed hyperparameter.

    Others as of `PopulationBasedTraining`.

    Raises:
        TuneError: no bounds, or not two of them.
        ImportError: scikit-learn or pandas is not installed.
    """

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: str | None = None,
        perturbation_interval: float = 60.0,
        hyperparam_bounds: dict[str, dict | list | tuple] | None = None,
        quantile_fraction: float = 0.25,
        log_config: bool = True,
        require_attrs: bool = True,
        synch: bool = False,
        custom_explore_fn: Callable[[dict], dict] | None = None,
    ) -> None:
        import_pb2_dependencies()
        import pandas as pd

        bounds: dict[str, Any] = dict(hyperparam_bounds or {})
        if not bounds:
            raise TuneError("`hyperparam_bounds` must be specified to use PB2 scheduler.")
        for name, pair in bounds.items():
            if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not pair[0] < pair[1]:
                raise TuneError(f"`hyperparam_bounds` of {name!r} must be [low, high], not {pair!r}")
        # Where a configuration lacks a hyperparameter it is drawn between its bounds.
        mutations = {name: _uniform(pair) for name, pair in bounds.items()}
        super().__init__(
            time_attr=time_attr,
            metric=metric,
            mode=mode,
            perturbation_interval=perturbation_interval,
            hyperparam_mutations=mutations,
            quantile_fraction=quantile_fraction,
            resample_probability=0,
            custom_explore_fn=custom_explore_fn,
            log_config=log_config,
            require_attrs=require_attrs,
            synch=synch,
        )
        self.last_exploration_time = 0
        self._hyperparam_bounds = bounds
        self.data: Any = pd.DataFrame()
        self.current: Any = None

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Add the result to the table; then as population based training does."""
        import pandas as pd

        if self._is_told(result):
            row = {
                "Trial": str(trial),
                "Time": result[self._time_attr],
                "Reward": self._metric_op * result[self._metric],
                **{name: trial.config[name] for name in self._hyperparam_bounds},
            }
            self.data = pd.concat([self.data, pd.DataFrame([row])], ignore_index=True)
        return super().on_trial_result(tune_controller, trial, result)

    def _get_new_config(self, trial: Trial, trial_to_clone: Trial) -> tuple[dict, dict]:
        names = list(self._hyperparam_bounds)
        now = self._trial_state[trial].last_train_time
        if now > self.last_exploration_time:
            self.current = None
        changed, self.data = explore(
            self.data, self._hyperparam_bounds, self.current, trial_to_clone, trial, trial_to_clone.config
        )
        self.last_exploration_time = int(now)
        point = np.array([[changed[name] for name in names]], dtype=float)
        self.current = point if self.current is None else np.vstack([self.current, point])
        if self._custom_explore_fn is not None:
            changed = self._custom_explore_fn(changed)
            if changed is None:
                raise ValueError("custom_explore_fn must return the new configuration; it returned None")
        return changed, dict.fromkeys(names, "chosen by the process")


def _uniform(bounds: Any) -> Callable[[], float]:
    low, high = bounds
    whole = isinstance(low, int) and isinstance(high, int)

    def draw() -> float:
        return int(np.random.randint(low, high + 1)) if whole else float(np.random.uniform(low, high))

    return draw
