"""`ExperimentAnalysis`: an experiment's trials, best ones and tables; of a running program or from its folder."""

from __future__ import annotations

import io
import json
import logging
import math
import os
from numbers import Number
from typing import TYPE_CHECKING, Any

from narke.tune.execution.journal import find_state
from narke.tune.experiment.trial import Trial
from narke.tune.result import DEFAULT_METRIC, EXPR_PROGRESS_FILE, EXPR_RESULT_FILE
from narke.tune.search.util import flattened

if TYPE_CHECKING:
    import pandas as pd

    from narke.train._checkpoint import Checkpoint

__all__ = ["ExperimentAnalysis"]

logger = logging.getLogger(__name__)
DEFAULT_FILE_TYPE = "csv"
_SCOPES = ("all", "last", "avg", "last-5-avg", "last-10-avg")


class ExperimentAnalysis:
    """Looks at an experiment.

    Args:
        experiment_checkpoint_path: its folder or URI, or a file of its state there.
        storage_filesystem: on which the path lies.
        trials: its trials; read from the folder if None.
        default_metric, default_mode: for what is asked without.

    Raises:
        ValueError: the mode is neither "min" nor "max", or the folder holds no experiment.
    """

    def __init__(
        self,
        experiment_checkpoint_path: str | os.PathLike,
        *,
        storage_filesystem: Any = None,
        trials: list[Trial] | None = None,
        default_metric: str | None = None,
        default_mode: str | None = None,
    ) -> None:
        from narke.train._storage import filesystem_and_path

        if default_mode and default_mode not in ("min", "max"):
            raise ValueError("`default_mode` has to be None or one of [min, max]")
        self.default_metric = default_metric or (DEFAULT_METRIC if default_mode else None)
        self.default_mode = default_mode
        path = os.fspath(experiment_checkpoint_path)
        if path.endswith((".json", ".jsonl")):
            path = path.rsplit("/", 1)[0]
        self._fs, self._experiment_fs_path = filesystem_and_path(path, storage_filesystem)
        self._file_type = DEFAULT_FILE_TYPE
        self._run: dict[str, Any] = {}
        self.trials: list[Trial] = trials if trials is not None else self._read_trials()
        self._frames: dict[str, pd.DataFrame] | None = None

    def _read_trials(self) -> list[Trial]:
        from narke.train._storage import StorageContext

        state = find_state(self._experiment_fs_path, self._fs)
        if state is None:
            raise ValueError(
                f"there is no experiment at {self._experiment_fs_path!r}: it holds no experiment_state-*.json"
            )
        self._run = state.run
        parent, _, name = self._experiment_fs_path.rstrip("/").rpartition("/")
        storage = StorageContext(parent, name, storage_filesystem=self._fs)
        trials = []
        for parts in state.parts():
            trial = Trial.from_parts(*parts, stub=True)
            trial.set_storage(storage)
            trials.append(trial)
        return trials

    # ---- places

    @property
    def experiment_path(self) -> str:
        """The experiment's folder."""
        return self._experiment_fs_path

    @property
    def runner_data(self) -> Any:
        """A function that gives facts about the run, as older programs call it."""
        return lambda: dict(self._run)

    def stats(self) -> dict[str, Any]:
        """Facts about the run."""
        return dict(self._run)

    def set_filetype(self, file_type: str | None = None) -> None:
        """Choose what trials' tables are read from.

        Args:
            file_type: "csv" or "json"; "csv" if None.

        Raises:
            ValueError: another one.
        """
        if file_type not in (None, "csv", "json"):
            raise ValueError(f"a file type is 'csv' or 'json', not {file_type!r}")
        self._file_type = file_type or DEFAULT_FILE_TYPE
        self._frames = None

    # ---- the best

    @property
    def best_trial(self) -> Trial:
        """The trial with the best last value of the default metric."""
        self._need_defaults("best_trial", "get_best_trial(metric, mode)")
        found = self.get_best_trial(self.default_metric, self.default_mode)
        if found is None:
            raise ValueError(f"no trial reported a number for {self.default_metric!r}")
        return found

    @property
    def best_config(self) -> dict[str, Any]:
        """The configuration of the best trial."""
        self._need_defaults("best_config", "get_best_config(metric, mode)")
        return self.get_best_config(self.default_metric, self.default_mode)  # type: ignore[return-value]

    @property
    def best_checkpoint(self) -> Checkpoint | None:
        """The best checkpoint of the best trial."""
        self._need_defaults("best_checkpoint", "get_best_checkpoint(trial, metric, mode)")
        return self.get_best_checkpoint(self.best_trial, self.default_metric, self.default_mode)

    @property
    def best_logdir(self) -> str | None:
        """The folder of the best trial."""
        self._need_defaults("best_logdir", "get_best_logdir(metric, mode)")
        return self.get_best_logdir(self.default_metric, self.default_mode)

    @property
    def best_dataframe(self) -> pd.DataFrame:
        """The results of the best trial."""
        self._need_defaults("best_dataframe", "get_best_trial(metric, mode)")
        return self.trial_dataframes[self.best_trial.trial_id]

    @property
    def best_result(self) -> dict[str, Any]:
        """The last result of the best trial."""
        self._need_defaults("best_result", "get_best_trial(metric, mode).last_result")
        return self.best_trial.last_result

    @property
    def best_result_df(self) -> pd.DataFrame:
        """The last result of the best trial as a table of one row."""
        import pandas as pd

        row = flattened(self.best_result)
        return pd.DataFrame.from_records([row], index="trial_id" if "trial_id" in row else None)

    def _need_defaults(self, what: str, instead: str) -> None:
        if not self.default_metric or not self.default_mode:
            raise ValueError(
                f"To fetch the `{what}`, pass a `metric` and `mode` parameter to `tune.run()`. Alternatively, use the "
                f"`{instead}` method."
            )

    def get_best_trial(
        self,
        metric: str | None = None,
        mode: str | None = None,
        scope: str = "last",
        filter_nan_and_inf: bool = True,
    ) -> Trial | None:
        """Return the best trial.

        Args:
            metric, mode: what to compare, and how; the defaults if None.
            scope: the values compared: "last", "all" (a trial's best), "avg", "last-5-avg", "last-10-avg".
            filter_nan_and_inf: leave out trials whose value is no finite number.

        Returns:
            None if no trial has a value.

        Raises:
            ValueError: metric, mode or scope is missing or unknown.
        """
        metric, mode = self._metric(metric), self._mode(mode)
        if scope not in _SCOPES:
            raise ValueError(f"scope is {scope!r}; it must be one of {', '.join(_SCOPES)}")
        best: tuple[float, Trial] | None = None
        for trial in self.trials:
            value = _score(trial, metric, mode, scope)
            if value is None or (filter_nan_and_inf and not math.isfinite(value)):
                continue
            if best is None or (value > best[0] if mode == "max" else value < best[0]):
                best = (value, trial)
        if best is None:
            logger.warning(
                "Could not find best trial. Did you pass the correct `metric` parameter? No trial has a number for %r",
                metric,
            )
        return best[1] if best else None

    def get_best_config(
        self, metric: str | None = None, mode: str | None = None, scope: str = "last"
    ) -> dict[str, Any] | None:
        """Return the configuration of the best trial; see `get_best_trial`."""
        trial = self.get_best_trial(metric, mode, scope)
        return trial.config if trial else None

    def get_best_logdir(
        self, metric: str | None = None, mode: str | None = None, scope: str = "last"
    ) -> str | None:
        """Return the folder of the best trial; see `get_best_trial`."""
        trial = self.get_best_trial(metric, mode, scope)
        return trial.path if trial else None

    def get_best_checkpoint(
        self, trial: Trial, metric: str | None = None, mode: str | None = None, return_path: bool = False
    ) -> Any:
        """Return a trial's checkpoint with the best metrics.

        Args:
            trial: the trial.
            metric, mode: what to compare, and how; the defaults if None.
            return_path: return its path.
        """
        metric, mode = self._metric(metric), self._mode(mode)
        scored = self.get_trial_checkpoints_paths(trial, metric)
        scored = [(checkpoint, value) for checkpoint, value in scored if _is_finite(value)]
        if not scored:
            logger.error("No checkpoints of trial %s have a number for %r", trial, metric)
            return None
        found = (max if mode == "max" else min)(scored, key=lambda each: each[1])[0]
        return found.path if return_path else found

    def get_last_checkpoint(
        self, trial: Trial | None = None, metric: str = "training_iteration", mode: str = "max"
    ) -> Checkpoint | None:
        """Return a trial's last checkpoint; of the trial that got farthest if None is given."""
        trial = trial or self.get_best_trial(metric, mode)
        return self.get_best_checkpoint(trial, "training_iteration", "max") if trial else None

    def get_trial_checkpoints_paths(self, trial: Trial, metric: str | None = None) -> list[tuple[Any, Any]]:
        """Return (checkpoint, its value of a metric) of those a trial kept."""
        metric = metric or self.default_metric or "training_iteration"
        return [
            (result.checkpoint, flattened(result.metrics).get(metric))
            for result in trial.get_trial_checkpoints()
            if result.checkpoint is not None
        ]

    # ---- tables

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """The last result of each trial, by its identifier."""
        return {trial.trial_id: trial.last_result for trial in self.trials}

    @property
    def results_df(self) -> pd.DataFrame:
        """The last results as a table."""
        import pandas as pd

        rows = [flattened(trial.last_result) for trial in self.trials if trial.last_result]
        return pd.DataFrame.from_records(rows, index="trial_id")

    def dataframe(self, metric: str | None = None, mode: str | None = None) -> pd.DataFrame:
        """Return a row for each trial, with its configuration under "config/...".

        Args:
            metric, mode: the result with the best value; the last result if None.

        Raises:
            ValueError: an unknown mode, or a mode without a metric.
        """
        import pandas as pd

        if mode and mode not in ("min", "max"):
            raise ValueError("If set, `mode` has to be one of [min, max]")
        if mode and not metric:
            raise ValueError(f"mode {mode!r} needs a metric")
        rows = [self._row(trial, metric, mode) for trial in self.trials]
        return pd.DataFrame([row for row in rows if row])

    def _row(self, trial: Trial, metric: str | None, mode: str | None) -> dict[str, Any]:
        row: dict[str, Any] = {}
        if metric and mode:
            frame = self.trial_dataframes.get(trial.trial_id)
            if frame is None or metric not in frame or frame[metric].dropna().empty:
                return {}
            place = frame[metric].idxmax() if mode == "max" else frame[metric].idxmin()
            row = frame.loc[place].to_dict()
        elif trial.last_result:
            row = flattened({key: value for key, value in trial.last_result.items() if key != "config"})
            row.pop("experiment_tag", None)
        row.update({f"config/{key}": value for key, value in flattened(trial.config).items()})
        row["logdir"] = trial.path
        return row

    def get_all_configs(self, prefix: bool = False) -> dict[str, dict]:
        """Return each trial's configuration by its identifier.

        Args:
            prefix: put "config/" before the keys.
        """
        return {
            trial.trial_id: {f"config/{key}": value for key, value in trial.config.items()}
            if prefix
            else trial.config
            for trial in self.trials
        }

    @property
    def trial_dataframes(self) -> dict[str, pd.DataFrame]:
        """All results of each trial, by its identifier."""
        if self._frames is None:
            self._frames = {trial.trial_id: self._frame(trial) for trial in self.trials}
        return self._frames

    def fetch_trial_dataframes(self) -> dict[str, pd.DataFrame]:
        """All results of each trial, by its folder."""
        return {str(trial.path): self.trial_dataframes[trial.trial_id] for trial in self.trials}

    def _frame(self, trial: Trial) -> pd.DataFrame:
        import pandas as pd

        from narke.train._storage import list_folder, read_bytes

        path = trial.path or ""
        names = list_folder(self._fs, path)
        if EXPR_RESULT_FILE in names and self._file_type != "csv" or EXPR_PROGRESS_FILE not in names:
            if EXPR_RESULT_FILE not in names:
                return pd.DataFrame()
            text = read_bytes(self._fs, f"{path}/{EXPR_RESULT_FILE}").decode()
            return pd.json_normalize([json.loads(line) for line in text.splitlines() if line], sep="/")
        data = read_bytes(self._fs, f"{path}/{EXPR_PROGRESS_FILE}")
        return pd.read_csv(io.BytesIO(data), dtype={"trial_id": str}) if data else pd.DataFrame()

    # ---- small parts

    def _metric(self, metric: str | None) -> str:
        found = metric or self.default_metric
        if not found:
            raise ValueError(
                "No `metric` has been passed and  `default_metric` has not been set. Please specify the `metric` "
                "parameter."
            )
        return found

    def _mode(self, mode: str | None) -> str:
        found = mode or self.default_mode
        if not found:
            raise ValueError(
                "No `mode` has been passed and  `default_mode` has not been set. Please specify the `mode` parameter."
            )
        if found not in ("min", "max"):
            raise ValueError(f"`mode` has to be 'min' or 'max', not {found!r}")
        return found

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        state["trials"] = [trial.get_json_state() for trial in self.trials]
        state["_frames"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        from narke.train._storage import StorageContext

        vars(self).update(state)
        parent, _, name = self._experiment_fs_path.rstrip("/").rpartition("/")
        storage = StorageContext(parent, name, storage_filesystem=self._fs)
        self.trials = [Trial.from_json_state(texts, stub=True) for texts in state["trials"]]
        for trial in self.trials:
            trial.set_storage(storage)


def _score(trial: Trial, metric: str, mode: str, scope: str) -> float | None:
    known = trial.metric_analysis.get(metric)
    if known is None:
        value = flattened(trial.last_result).get(metric)
        return value if isinstance(value, Number) else None  # type: ignore[return-value]
    if scope in ("avg", "last", "last-5-avg", "last-10-avg"):
        return known[scope]
    return known[mode]


def _is_finite(value: Any) -> bool:
    return isinstance(value, Number) and math.isfinite(value)  # type: ignore[arg-type]
