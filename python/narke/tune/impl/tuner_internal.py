"""`TunerInternal`: what `Tuner` does."""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Union

from narke.tune.analysis.experiment_analysis import ExperimentAnalysis
from narke.tune.execution.journal import find_state
from narke.tune.experiment.experiment import Experiment
from narke.tune.result_grid import ResultGrid
from narke.tune.search.util import flattened
from narke.tune.trainable.trainable import Trainable
from narke.tune.tune_config import ResumeConfig, TuneConfig

if TYPE_CHECKING:
    from narke.air.config import RunConfig

__all__ = ["TrainableType", "TrainableTypeOrTrainer", "TunerInternal"]

TrainableType = Union[str, Callable, type[Trainable]]  # noqa: UP007
TrainableTypeOrTrainer = Union[str, Callable, type[Trainable], Any]  # noqa: UP007
logger = logging.getLogger(__name__)
_TUNER_FILE = "tuner.pkl"


class TunerInternal:
    """Runs or goes on with an experiment.

    Args:
        restore_path: the experiment to go on with.
        storage_filesystem: on which it lies.
        resume_config: what becomes of its trials.
        trainable, param_space, tune_config, run_config: see `narke.tune.Tuner`.
    """

    def __init__(
        self,
        restore_path: str | None = None,
        storage_filesystem: Any = None,
        resume_config: ResumeConfig | None = None,
        trainable: Any = None,
        param_space: dict[str, Any] | None = None,
        tune_config: TuneConfig | None = None,
        run_config: RunConfig | None = None,
        _tuner_kwargs: dict | None = None,
        _entrypoint: Any = None,
    ) -> None:
        from narke.tune.impl.config import RunConfig

        _check_space(param_space)
        _check_kinds(tune_config, run_config)
        self.trainable = trainable
        self._tune_config = tune_config or TuneConfig()
        self._run_config: Any = copy.copy(run_config) if run_config else None
        self._tuner_kwargs = dict(_tuner_kwargs or {})
        self._resume_config: ResumeConfig | None = None
        self._analysis: ExperimentAnalysis | None = None
        self._param_space = _plain_space(param_space)
        if restore_path is not None:
            self._restore(
                restore_path, storage_filesystem, resume_config or ResumeConfig(), trainable, param_space
            )
        elif trainable is None:
            raise ValueError("You need to provide a trainable to tune.")
        if self._run_config is None:
            self._run_config = getattr(trainable, "run_config", None) or RunConfig()
        _check_trainable(self.trainable)
        self._converted = _converted(self.trainable)

    # ---- what it is made of

    @property
    def param_space(self) -> dict[str, Any]:
        """The search space."""
        return self._param_space

    @property
    def converted_trainable(self) -> Any:
        """The function, class or name that runs."""
        return self._converted

    def get_run_config(self) -> RunConfig:
        """Name, storage and conduct of the experiment."""
        return self._run_config

    def set_run_config_and_remote_string_queue(self, run_config: RunConfig, string_queue: Any) -> None:
        """Change the run's configuration; the queue gets what reporters show."""
        self._run_config = run_config
        self._tuner_kwargs["_remote_string_queue"] = string_queue

    def clear_remote_string_queue(self) -> None:
        """Have reporters show things themselves."""
        self._tuner_kwargs.pop("_remote_string_queue", None)

    # ---- restoring

    @staticmethod
    def is_at(path: str, storage_filesystem: Any = None) -> bool:
        """Whether there is a tuner's experiment at a path."""
        from narke.train._storage import exists, filesystem_and_path

        filesystem, inner = filesystem_and_path(path, storage_filesystem)
        return exists(filesystem, f"{inner.rstrip('/')}/{_TUNER_FILE}")

    def _restore(self, path: str, filesystem: Any, policy: ResumeConfig, trainable: Any, space: Any) -> None:
        from narke import cloudpickle
        from narke.train._storage import filesystem_and_path, read_bytes

        if not self.is_at(path, filesystem):
            raise ValueError(
                f"there is no experiment of a Tuner at {path!r} ({_TUNER_FILE} is not there): check the path, or ask "
                "Tuner.can_restore(path) first"
            )
        if trainable is None:
            raise ValueError("Tuner.restore needs the trainable of the experiment")
        found, inner = filesystem_and_path(path, filesystem)
        saved = cloudpickle.loads(read_bytes(found, f"{inner.rstrip('/')}/{_TUNER_FILE}"))
        name = Experiment.get_trainable_name(_converted(trainable))
        if saved["trainable_name"] != name:
            raise ValueError(
                f"Invalid trainable name: the experiment at {path!r} runs {saved['trainable_name']!r}, not {name!r}. "
                "Restore it with the same trainable"
            )
        self._tune_config = saved["tune_config"]
        self._run_config = saved["run_config"]
        parent, _, folder = inner.rstrip("/").rpartition("/")
        self._run_config.name = folder
        scheme = path.split("://", 1)[0] + "://" if "://" in path else ""
        self._run_config.storage_path = scheme + parent if filesystem is None else parent
        self._run_config.storage_filesystem = filesystem
        self._param_space = self._restored_space(saved["param_space"], space)
        self._resume_config = policy

    @staticmethod
    def _restored_space(saved: dict[str, Any] | None, given: Any) -> dict[str, Any]:
        space = _plain_space(given)
        if given is None:
            if saved is None:
                raise ValueError(
                    "the experiment's param_space could not be stored: pass it to Tuner.restore again"
                )
            return saved
        before, now = set(flattened(saved or {})), set(flattened(space))
        if saved is not None and before != now:
            raise ValueError(
                "Invalid `param_space`: a restored experiment keeps its search space, only values in it may be made "
                f"anew. It had {sorted(map(str, before))}; given were {sorted(map(str, now))}"
            )
        return space

    # ---- running

    def fit(self) -> ResultGrid:
        """Run or go on with the experiment."""
        from narke.tune.tune import run

        config, tune = self._run_config, self._tune_config
        failure, checkpoint = config.failure_config, self._checkpoint_config()
        self._analysis = run(
            self._converted,
            name=config.name,
            metric=tune.metric,
            mode=tune.mode,
            stop=_known(config.stop),
            time_budget_s=tune.time_budget_s,
            config=self._param_space,
            num_samples=tune.num_samples,
            storage_path=config.storage_path,
            storage_filesystem=config.storage_filesystem,
            search_alg=tune.search_alg,
            scheduler=tune.scheduler,
            checkpoint_config=checkpoint,
            verbose=_known(getattr(config, "verbose", None)),
            progress_reporter=_known(getattr(config, "progress_reporter", None)),
            log_to_file=_known(getattr(config, "log_to_file", None)) or False,
            trial_name_creator=tune.trial_name_creator,
            trial_dirname_creator=tune.trial_dirname_creator,
            sync_config=_known(getattr(config, "sync_config", None)),
            max_failures=failure.max_failures,
            fail_fast=_known(failure.fail_fast) or False,
            # It may have been killed after the tuner's file and before the first record: then it begins.
            resume="AUTO" if self._resume_config is not None else None,
            resume_config=self._resume_config,
            reuse_actors=bool(tune.reuse_actors),
            raise_on_failed_trial=False,
            callbacks=_tune_callbacks(config.callbacks),
            max_concurrent_trials=tune.max_concurrent_trials,
            _on_experiment=self._write,
            **self._tuner_kwargs,
        )
        return ResultGrid(self._analysis)

    def _checkpoint_config(self) -> Any:
        """The checkpoints' configuration; a trainer makes its own checkpoints, whatever its frequency."""
        config = copy.copy(self._run_config.checkpoint_config)
        function = inspect.isfunction(self._converted) or getattr(self._converted, "_is_trainer", False)
        if config is not None and function and hasattr(self.trainable, "as_trainable"):
            config.checkpoint_frequency, config.checkpoint_at_end = 0, None
        return config

    def _write(self, experiment: Experiment) -> None:
        """Write what `restore` reads, before the first trial."""
        from narke import cloudpickle
        from narke.train._storage import make_folder, write_bytes

        storage = experiment.storage
        self._run_config = copy.copy(self._run_config)
        self._run_config.name = experiment.name
        make_folder(storage.storage_filesystem, storage.experiment_fs_path)
        state = {
            "trainable_name": experiment.run_identifier,
            "tune_config": self._tune_config,
            "run_config": self._run_config,
            "param_space": self._param_space,
        }
        for part in ("none", "param_space", "run_config"):
            if part == "param_space":
                state["param_space"] = None
            elif part == "run_config":
                state["run_config"] = copy.copy(self._run_config)
                state["run_config"].callbacks = state["run_config"].progress_reporter = None
            try:
                data = cloudpickle.dumps(state)
                break
            except Exception as error:
                logger.warning(
                    "parts of the tuner cannot be pickled (%s); restoring will need them again", error
                )
        else:
            raise ValueError(
                "the tune_config cannot be pickled: a searcher, scheduler or function in it holds what cannot be"
            )
        write_bytes(storage.storage_filesystem, f"{storage.experiment_fs_path}/{_TUNER_FILE}", data)

    def get_results(self) -> ResultGrid:
        """The results so far.

        Raises:
            RuntimeError: nothing ran yet.
        """
        if self._analysis is not None:
            return ResultGrid(self._analysis)
        if self._resume_config is None:
            raise RuntimeError(
                "Can't return results as experiment has not been run, yet. Call `Tuner.fit()` first."
            )
        from narke.train._storage import StorageContext

        storage = StorageContext(
            self._run_config.storage_path,
            self._run_config.name,
            storage_filesystem=self._run_config.storage_filesystem,
        )
        path = storage.experiment_fs_path
        if find_state(path, storage.storage_filesystem) is None:
            raise RuntimeError(f"the experiment at {path!r} has no trials yet; call Tuner.fit()")
        self._analysis = ExperimentAnalysis(
            path,
            storage_filesystem=storage.storage_filesystem,
            default_metric=self._tune_config.metric,
            default_mode=self._tune_config.mode,
        )
        return ResultGrid(self._analysis)


def _check_space(space: Any) -> None:
    if space is None or isinstance(space, dict) or hasattr(space, "to_dict"):
        return
    raise ValueError(f"The `param_space` passed to the `Tuner` must be a dict, not {type(space).__name__}")


def _plain_space(space: Any) -> dict[str, Any]:
    if space is None:
        return {}
    return dict(space) if isinstance(space, dict) else space.to_dict()


def _check_kinds(tune_config: Any, run_config: Any) -> None:
    from narke.air.config import RunConfig
    from narke.train._config import RunConfig as TrainRunConfig

    if tune_config is not None and not isinstance(tune_config, TuneConfig):
        raise ValueError(f"`tune_config` must be a `TuneConfig`, not {type(tune_config).__name__}")
    if run_config is not None and not isinstance(run_config, (RunConfig, TrainRunConfig)):
        raise ValueError(f"`run_config` must be a `RunConfig`, not {type(run_config).__name__}")


def _check_trainable(trainable: Any) -> None:
    if isinstance(trainable, str) or hasattr(trainable, "as_trainable"):
        return
    if inspect.isclass(trainable) and not issubclass(trainable, Trainable):
        raise TypeError(f"a trainable class derives from narke.tune.Trainable; {trainable.__name__} does not")
    if not callable(trainable):
        raise TypeError(
            f"a trainable is a function, a class, a registered name or a trainer, not {trainable!r}"
        )


def _converted(trainable: Any) -> Any:
    """What runs: a trainer's trainable, else the thing itself."""
    if hasattr(trainable, "as_trainable") and not inspect.isclass(trainable):
        return trainable.as_trainable()
    return trainable


def _known(value: Any) -> Any:
    """A value of a configuration; None where this generation's has none."""
    return None if isinstance(value, str) and value == "DEPRECATED" else value


def _tune_callbacks(callbacks: Any) -> list:
    from narke.tune.callback import Callback

    return [
        each for each in callbacks or [] if isinstance(each, Callback) or not hasattr(each, "after_report")
    ]
