"""The base of all trainers: what a run is made of, and how it is conducted."""

from __future__ import annotations

import copy
import inspect
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Union

import narke
from narke._private import preloads
from narke.air.config import DEPRECATED
from narke.air.config import RunConfig as FirstRunConfig
from narke.air.config import ScalingConfig as FirstScalingConfig
from narke.train import _generation, _naming, _storage
from narke.train._config import CheckpointConfig, RunConfig, ScalingConfig
from narke.train._data_config import DataConfig
from narke.train._run_context import TrainRunContext
from narke.train._worker_group import GroupSpec, WorkerGroup
from narke.train.backend import BackendConfig
from narke.train.v2.api.exceptions import TrainingFailedError

if TYPE_CHECKING:
    from narke.air.result import Result
    from narke.data.dataset import Dataset
    from narke.train._checkpoint import Checkpoint
    from narke.train._controller import Outcome, RunSpec
    from narke.train._vault import Vault

__all__ = [
    "PREPROCESSOR_DEPRECATION_MESSAGE",
    "BaseTrainer",
    "GenDataset",
    "TrainingFailedError",
    "format_datasets_for_repr",
]

# A dataset, or a function that makes it.
GenDataset = Union["Dataset", Callable[[], "Dataset"]]
PREPROCESSOR_DEPRECATION_MESSAGE = (
    "A trainer's preprocessor= is fitted on the train dataset and applied to all; programs written now call "
    "preprocessor.fit_transform themselves."
)
_TRAINER_FILE = "trainer.pkl"


class BaseTrainer:
    """A trainer whose `training_loop` runs in one worker; subclasses run other functions in more of them.

    Args:
        scaling_config: a ScalingConfig, or a dict of its parameters.
        run_config: name, storage, failures, checkpoints.
        datasets: by name; functions are called when the run begins.
        metadata: given to training functions and results.
        resume_from_checkpoint: where to begin.
        preprocessor: fitted on the dataset "train", applied to all, stored with each checkpoint.

    Raises:
        TypeError, ValueError: an argument is not what it must be.
    """

    def __init__(
        self,
        *,
        scaling_config: FirstScalingConfig | dict[str, Any] | None = None,
        run_config: RunConfig | FirstRunConfig | None = None,
        datasets: dict[str, GenDataset] | None = None,
        metadata: dict[str, Any] | None = None,
        resume_from_checkpoint: Checkpoint | None = None,
        preprocessor: Any = None,
    ) -> None:
        self._is_first = _is_first(scaling_config, run_config, preprocessor)
        self.scaling_config = as_scaling_config(scaling_config, self._is_first)
        self.run_config = run_config if run_config is not None else self._default_run_config()
        self.datasets = dict(datasets or {})
        self.metadata = metadata
        self.starting_checkpoint = resume_from_checkpoint
        self.preprocessor = preprocessor
        self.backend_config: BackendConfig = BackendConfig()
        self.train_loop_config: dict[str, Any] | None = None
        self.data_config: Any = DataConfig()
        self.validation_config: Any = None
        self._restored: str | None = None
        self._trial_dir: str | None = None
        _check(self)

    def _default_run_config(self) -> Any:
        return FirstRunConfig() if self._is_first else RunConfig()

    def __repr__(self) -> str:
        shown = {"scaling_config": self.scaling_config, "run_config": self.run_config}
        if self.datasets:
            shown["datasets"] = format_datasets_for_repr(self.datasets)
        return f"<{type(self).__name__} {' '.join(f'{name}={value!r}' for name, value in shown.items())}>"

    @property
    def running_in_local_mode(self) -> bool:
        """Whether the training function runs in this process, without workers."""
        return self._workers()[1] == 0

    @property
    def train_run_context(self) -> TrainRunContext:
        """What the run is made of, as callbacks get it."""
        return TrainRunContext(
            getattr(self, "_run_id", ""),
            self.run_config,
            self.train_loop_config,
            self.scaling_config,
            self.backend_config,
            self.data_config,
            self.datasets,
        )

    # ---- what subclasses of users override

    def setup(self) -> None:
        """Called before the run begins."""

    def preprocess_datasets(self) -> None:
        """Called before the run begins: fits the preprocessor and puts transformed datasets into `datasets`."""
        self.datasets = {name: each if _is_dataset(each) else each() for name, each in self.datasets.items()}  # type: ignore[operator]
        if self.preprocessor is None:
            return
        train = self.datasets.get("train")
        if train is not None and _needs_fit(self.preprocessor):
            self.preprocessor.fit(train)
        self.datasets = {name: self.preprocessor.transform(each) for name, each in self.datasets.items()}

    def training_loop(self) -> None:
        """The training itself; it reports by `narke.train.report`."""
        raise NotImplementedError(f"{type(self).__name__} does not say what training_loop does")

    def get_dataset_config(self) -> Any:
        """How datasets reach the workers."""
        return self.data_config

    # ---- running

    def fit(self) -> Result:
        """Train.

        Returns:
            the run's result.

        Raises:
            TrainingFailedError: it failed more often than `FailureConfig` allows; the text has the workers' errors.
        """
        if not narke.is_initialized():
            narke.init()
        run = copy.copy(self)
        return run._fit()

    def _fit(self) -> Result:
        from narke.train import _local
        from narke.train._controller import Controller
        from narke.train._run_files import RunFiles

        self._run_id = secrets.token_hex(16)
        self.setup()
        self.preprocess_datasets()
        if self.running_in_local_mode:
            session = _local.LocalSession(self._name(), self.datasets, self.starting_checkpoint)
            outcome = _local.run_here(self._function(), session, self.backend_config.train_func_context)
            return self._as_result(outcome, None)
        vault = self._vault(self._make_storage())
        files = RunFiles(self, vault)
        outcome = Controller(self._spec(vault, files)).run()
        files.close(outcome.error)
        if outcome.error is not None:
            raise outcome.error
        return self._as_result(outcome, vault)

    def _spec(self, vault: Vault, files: Any) -> RunSpec:
        from narke.train import _controller, _run_state

        failure, scaling = self.run_config.failure_config, self.scaling_config
        least, most = self._workers()
        return _controller.RunSpec(
            run_id=self._run_id,
            name=vault.storage.experiment_dir_name,
            trainer=type(self).__name__,
            function=narke.put(self._function()),  # type: ignore[arg-type]  # workers get its value
            backend_config=self.backend_config,
            group=self._group(most),
            least=least,
            most=most,
            resize_s=getattr(scaling, "elastic_resize_monitor_interval_s", 60.0),
            vault=vault,
            max_failures=failure.max_failures if failure else 0,
            start_failures=getattr(failure, "controller_failure_limit", -1),
            shards=self._shards,
            checkpoint=self.starting_checkpoint,
            metadata=self.metadata,
            lockstep=files.stops,
            fill=files.fill,
            stop=files.stop,
            reported=files.reported,
            failed=files.failed,
            validation=self.validation_config,
            settings=_run_state.settings(self, self._bundle(), least, most),
        )

    def _workers(self) -> tuple[int, int]:
        """The least and the greatest number of workers."""
        return 1, 1

    def _bundle(self) -> dict[str, float]:
        """What a worker holds."""
        return self.scaling_config._trainer_resources_not_none or {"CPU": 1}

    def _group(self, most: int) -> GroupSpec:
        scaling = self.scaling_config
        selectors = getattr(scaling, "_label_selector_per_worker", lambda _n: None)(most)
        return GroupSpec(
            bundle=self._bundle() or {"CPU": 0.001},
            strategy=str(scaling.placement_strategy),
            selectors=selectors,
            runtime_env=getattr(self.run_config, "worker_runtime_env", None),
            modules=preloads.TORCH if self.backend_config.framework == "torch" else None,
        )

    def _function(self) -> Callable[[], Any]:
        return _Loop(self)

    def _shards(self, group: WorkerGroup) -> list[dict[str, Any]]:
        if not self.datasets:
            return [{} for _ in group]
        nodes = [worker.info.node_id for worker in group]
        handles = [worker.actor for worker in group]
        return self.data_config.configure(self.datasets, len(group), handles, nodes)

    # ---- names and storage

    def _name(self) -> str:
        return self.run_config.name or _naming.unique(f"{type(self).__name__}_")

    def _make_storage(self) -> _storage.StorageContext:
        config = self.run_config
        if self._restored is not None:
            parent, _, name = self._restored.rstrip("/").rpartition("/")
            return _storage.StorageContext(
                parent, name, storage_filesystem=config.storage_filesystem, trial_dir_name=self._trial_dir
            )
        trial = ""
        if self._is_first:
            trial = f"{type(self).__name__}_{self._run_id[:5]}_00000_0_{_naming.timestamp()}"
        return _storage.StorageContext(
            config.storage_path or "", self._name(), None, config.storage_filesystem, trial_dir_name=trial
        )

    def _vault(self, storage: _storage.StorageContext) -> Vault:
        from narke.train._vault import Vault

        config = self.run_config.checkpoint_config or CheckpointConfig()
        return Vault(storage, config, self._is_first, files=self._checkpoint_files())

    def _checkpoint_files(self) -> dict[str, bytes]:
        """Files that every checkpoint gets, by name."""
        from narke import cloudpickle

        if self.preprocessor is None:
            return {}
        return {"preprocessor.pkl": cloudpickle.dumps(self.preprocessor)}

    def _as_result(self, outcome: Outcome, vault: Vault | None) -> Result:
        import pandas as pd

        from narke.air.result import Result as FirstResult
        from narke.train._result import Result

        parts: dict[str, Any] = {
            "metrics": outcome.metrics,
            "checkpoint": vault.latest if vault else None,
            "error": outcome.error,
            "path": vault.folder if vault else "",
            "metrics_dataframe": pd.DataFrame(outcome.rows) if outcome.rows else None,
            "best_checkpoints": vault.kept() if vault else [],
            "_storage_filesystem": vault.storage.storage_filesystem if vault else None,
        }
        result = FirstResult(**parts) if self._is_first else Result(**parts, return_value=outcome.value)
        result._returned = [outcome.values[rank] for rank in sorted(outcome.values)]  # type: ignore[attr-defined]
        return result

    # ---- Tune and restoring

    def as_trainable(self) -> Any:
        """A trainable of Tune: each trial runs this trainer, with the parameters of the trial's configuration."""
        from narke.train._trainable import trainable_of

        return trainable_of(self)

    @classmethod
    def can_restore(cls, path: str, storage_filesystem: Any = None) -> bool:
        """Whether `restore` would find a run of this kind.

        Args:
            path: the experiment's folder or URI.
            storage_filesystem: on which it lies.
        """
        filesystem, inner = _storage.filesystem_and_path(path, storage_filesystem)
        return _storage.exists(filesystem, f"{inner}/{_TRAINER_FILE}")

    @classmethod
    def restore(
        cls,
        path: str,
        storage_filesystem: Any = None,
        datasets: dict[str, GenDataset] | None = None,
        scaling_config: Any = None,
        **kwargs: Any,
    ) -> Any:
        """The trainer of an interrupted run; its `fit` goes on from the last checkpoint.

        Args:
            path: the experiment's folder or URI.
            storage_filesystem: on which it lies.
            datasets: by name; needed again if the run had some.
            scaling_config, kwargs: parameters to change, for instance train_loop_per_worker.

        Raises:
            ValueError: there is no such run, or its datasets are not given.
        """
        from narke import cloudpickle

        filesystem, inner = _storage.filesystem_and_path(path, storage_filesystem)
        if not cls.can_restore(path, storage_filesystem):
            raise ValueError(f"there is no run to restore at {path!r}: {_TRAINER_FILE} is not there")
        cls_, arguments, trial = cloudpickle.loads(
            _storage.read_bytes(filesystem, f"{inner}/{_TRAINER_FILE}")
        )
        names = arguments.pop("dataset_names", [])
        changed = {name: value for name, value in kwargs.items() if value is not None}
        if scaling_config is not None:
            changed["scaling_config"] = scaling_config
        if set(datasets or {}) != set(names):
            raise ValueError(
                f"the run has the datasets {sorted(names)}; restore got {sorted(datasets or {})}"
            )
        trainer = cls_(**{**arguments, **changed, **({"datasets": datasets} if datasets else {})})
        trainer._restored, trainer._trial_dir = path, trial
        if storage_filesystem is not None:
            trainer.run_config.storage_filesystem = storage_filesystem
        return trainer

    def _arguments(self) -> dict[str, Any]:
        """What this trainer can be made of again, without datasets."""
        parameters = inspect.signature(type(self).__init__).parameters
        more = next((name for name, each in parameters.items() if each.kind is each.VAR_KEYWORD), None)
        known = {
            name: getattr(self, _ATTRIBUTES.get(name, name))
            for name, each in parameters.items()
            if name not in ("self", "datasets")
            and each.kind is not inspect.Parameter.VAR_KEYWORD
            and hasattr(self, _ATTRIBUTES.get(name, name))
        }
        return {**known, **(getattr(self, more, {}) if more else {}), "dataset_names": sorted(self.datasets)}


_ATTRIBUTES = {
    "resume_from_checkpoint": "starting_checkpoint",
    "dataset_config": "data_config",
    "torch_config": "backend_config",
    "xgboost_config": "backend_config",
    "lightgbm_config": "backend_config",
    "tensorflow_config": "backend_config",
    "jax_config": "backend_config",
    "horovod_config": "backend_config",
}


class _Loop:
    """Calls a trainer's `training_loop` in its worker."""

    def __init__(self, trainer: BaseTrainer) -> None:
        self._trainer = trainer

    def __call__(self) -> None:
        self._trainer.training_loop()


def as_scaling_config(config: Any, first: bool) -> FirstScalingConfig:
    """A ScalingConfig, from one, a dict of its parameters, or None.

    Args:
        config: what was given to a trainer.
        first: whether a dict or None makes one of the first generation.

    Raises:
        TypeError: it is something else, or the dict has unknown parameters.
    """
    if isinstance(config, FirstScalingConfig):
        return config
    if config is None:
        return FirstScalingConfig() if first else ScalingConfig()
    if not isinstance(config, dict):
        raise TypeError(
            f"scaling_config is a ScalingConfig or a dict of its parameters, not {type(config).__name__}"
        )
    return (FirstScalingConfig if first else ScalingConfig)(**config)


def format_datasets_for_repr(datasets: dict[str, GenDataset]) -> dict[str, str]:
    """Datasets as text, by name."""
    return {name: repr(each).replace("\n", " ") for name, each in datasets.items()}


def _is_first(scaling: Any, run: Any, preprocessor: Any) -> bool:
    """Whether the arguments are of the first generation."""
    old_scaling = isinstance(scaling, FirstScalingConfig) and not isinstance(scaling, ScalingConfig)
    old = old_scaling or isinstance(run, FirstRunConfig) or preprocessor is not None
    return old or not _generation.is_second()


def _is_dataset(value: Any) -> bool:
    return hasattr(value, "iter_batches") or not callable(value)


def _needs_fit(preprocessor: Any) -> bool:
    status = getattr(preprocessor, "fit_status", None)
    return status is None or getattr(status(), "name", "") not in ("FITTED", "NOT_FITTABLE")


def _check(trainer: BaseTrainer) -> None:
    run = trainer.run_config
    if not isinstance(run, (RunConfig, FirstRunConfig)):
        raise TypeError(f"run_config is a RunConfig, not {type(run).__name__}")
    if trainer.metadata is not None:
        if not isinstance(trainer.metadata, dict):
            raise TypeError(f"metadata is a dict, not {type(trainer.metadata).__name__}")
        import json

        try:
            json.dumps(trainer.metadata)
        except TypeError as error:
            raise ValueError(f"metadata must be what JSON can hold: {error}") from error
    for name, dataset in trainer.datasets.items():
        if not callable(dataset) and not hasattr(dataset, "iter_batches"):
            raise ValueError(f"datasets[{name!r}] is a {type(dataset).__name__}; it must be a Dataset")
    if getattr(run, "stop", None) is DEPRECATED:
        run.stop = None
