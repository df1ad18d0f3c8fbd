"""`Trainer` of Ray 2.0: a trainer that is started, runs functions one after another, and is shut down."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

from narke.air.config import CheckpointConfig, RunConfig, ScalingConfig
from narke.train import _naming
from narke.train._worker_group import GroupSpec, WorkerGroup
from narke.train.backend import BackendConfig
from narke.train.base_trainer import BaseTrainer, GenDataset, TrainingFailedError
from narke.train.constants import (
    ENABLE_DETAILED_AUTOFILLED_METRICS_ENV,
    ENABLE_SHARE_CUDA_VISIBLE_DEVICES_ENV,
    TRAIN_ENABLE_WORKER_SPREAD_ENV,
    TRAIN_PLACEMENT_GROUP_TIMEOUT_S_ENV,
)
from narke.train.data_parallel_trainer import DataParallelTrainer

__all__ = [
    "BACKEND_ENV_VARS",
    "BACKEND_NAME_TO_CONFIG_CLS_NAME",
    "BaseTrainer",
    "GenDataset",
    "TrainWorkerGroup",
    "Trainer",
    "TrainingFailedError",
    "TrainingIterator",
]

BACKEND_NAME_TO_CONFIG_CLS_NAME = {
    "horovod": "HorovodConfig",
    "tensorflow": "TensorflowConfig",
    "torch": "TorchConfig",
}
BACKEND_ENV_VARS = {
    ENABLE_DETAILED_AUTOFILLED_METRICS_ENV,
    ENABLE_SHARE_CUDA_VISIBLE_DEVICES_ENV,
    TRAIN_ENABLE_WORKER_SPREAD_ENV,
    TRAIN_PLACEMENT_GROUP_TIMEOUT_S_ENV,
}
_END = object()


class Trainer:
    """Runs training functions on workers.

    Args:
        backend: "torch", "tensorflow", "horovod", or a BackendConfig.
        num_workers, use_gpu, resources_per_worker: of the workers.
        logdir: folder of the runs.
        max_retries: how often a run begins again after workers died; -1 for ever.

    Raises:
        ValueError: an unknown backend.
    """

    def __init__(
        self,
        backend: str | BackendConfig,
        num_workers: int,
        use_gpu: bool = False,
        resources_per_worker: dict[str, float] | None = None,
        logdir: str | None = None,
        max_retries: int = 3,
    ) -> None:
        self._config = backend_of(backend)
        self._scaling = ScalingConfig(
            num_workers=num_workers, use_gpu=use_gpu, resources_per_worker=resources_per_worker
        )
        self._max_retries = max_retries
        self.logdir = self.create_logdir(logdir)
        self._runs = 0
        self._result: Any = None
        self._returned: list[Any] = []
        self._hook: Callable[[], Any] | None = None

    def create_logdir(self, log_dir: str | None) -> str:
        """Make the folder of the runs.

        Args:
            log_dir: its path; one below the default storage path if None.
        """
        from narke.air.config import default_storage_path

        folder = os.path.abspath(
            os.path.expanduser(log_dir or os.path.join(default_storage_path(), _naming.unique("train_")))
        )
        os.makedirs(folder, exist_ok=True)
        return folder

    def create_run_dir(self) -> str:
        """Make the folder of the next run."""
        folder = os.path.join(self.logdir, f"run_{self._runs:03d}")
        os.makedirs(folder, exist_ok=True)
        return folder

    def start(self, initialization_hook: Callable[[], Any] | None = None) -> None:
        """Get ready.

        Args:
            initialization_hook: called in each worker before its function.
        """
        import narke

        if not narke.is_initialized():
            narke.init()
        self._hook = initialization_hook

    def run(
        self,
        train_func: Callable,
        config: dict[str, Any] | None = None,
        callbacks: list[Any] | None = None,
        dataset: Any = None,
        checkpoint: Any = None,
        checkpoint_strategy: Any = None,
    ) -> list[Any]:
        """Run a training function on all workers.

        Args:
            train_func: takes nothing, or the configuration.
            config: its argument.
            callbacks: `TrainingCallback`s.
            dataset: a Dataset, or {name: Dataset}.
            checkpoint: a dict or a path of one, that the function loads.
            checkpoint_strategy: which checkpoints are kept.

        Returns:
            what the function returned, by rank.
        """
        called = list(callbacks or [])
        for each in called:
            each.start_training(logdir=self.logdir, config=config or {})
        error = True
        try:
            self._run(train_func, config, dataset, checkpoint, checkpoint_strategy, _relay(called))
            error = False
        finally:
            for each in called:
                each.finish_training(error=error)
        return self._returned

    def run_iterator(
        self,
        train_func: Callable,
        config: dict[str, Any] | None = None,
        dataset: Any = None,
        checkpoint: Any = None,
        checkpoint_strategy: Any = None,
    ) -> TrainingIterator:
        """Run a training function, and iterate over what the workers report.

        Args:
            train_func, config, dataset, checkpoint, checkpoint_strategy: see `run`.

        Returns:
            an iterator of lists of metrics by rank.
        """
        return TrainingIterator(
            lambda relay: self._run(train_func, config, dataset, checkpoint, checkpoint_strategy, relay), self
        )

    def _run(
        self, function: Callable, config: Any, dataset: Any, checkpoint: Any, strategy: Any, relay: Callable
    ) -> None:
        from narke.air.config import FailureConfig
        from narke.train._checkpoint import Checkpoint

        folder = self.create_run_dir()
        self._runs += 1
        if isinstance(checkpoint, (str, os.PathLike)):
            checkpoint = self.load_checkpoint_from_path(os.fspath(checkpoint))
        trainer = DataParallelTrainer(
            _Collecting(function, self._hook),
            train_loop_config=config,
            backend_config=self._config,
            scaling_config=self._scaling,
            datasets=dataset if isinstance(dataset, dict) or dataset is None else {"train": dataset},
            resume_from_checkpoint=Checkpoint.from_dict(checkpoint)
            if isinstance(checkpoint, dict)
            else checkpoint,
            run_config=RunConfig(
                name=os.path.basename(folder),
                storage_path=self.logdir,
                failure_config=FailureConfig(max_failures=self._max_retries),
                checkpoint_config=strategy or CheckpointConfig(),
                callbacks=[_Reports(relay)],
            ),
        )
        self._result = trainer.fit()
        self._returned = self._result._returned

    def shutdown(self) -> None:
        """Nothing is left to end: workers end with their run."""

    @property
    def latest_run_dir(self) -> str | None:
        """The folder of the last run."""
        return self._result.path if self._result else None

    @property
    def latest_checkpoint(self) -> dict[str, Any] | None:
        """The last run's last checkpoint."""
        return self._result.checkpoint.to_dict() if self._result and self._result.checkpoint else None

    @property
    def latest_checkpoint_dir(self) -> str | None:
        """Where the last run's checkpoints are."""
        return self.latest_run_dir

    @property
    def best_checkpoint_path(self) -> str | None:
        """Where the last run's best checkpoint is."""
        return (
            self._result.best_checkpoints[-1][0].path
            if self._result and self._result.best_checkpoints
            else None
        )

    @property
    def best_checkpoint(self) -> dict[str, Any] | None:
        """The last run's best checkpoint."""
        path = self.best_checkpoint_path
        return self.load_checkpoint_from_path(path) if path else None

    @staticmethod
    def load_checkpoint_from_path(checkpoint_file_path: str) -> dict[str, Any]:
        """The dictionary of a checkpoint.

        Args:
            checkpoint_file_path: its folder.
        """
        from narke.train._checkpoint import Checkpoint

        return Checkpoint(checkpoint_file_path).to_dict()

    def to_tune_trainable(self, train_func: Callable, dataset: Any = None) -> Any:
        """A trainable of Tune whose trials run a training function.

        Args:
            train_func: takes nothing, or the trial's configuration.
            dataset: see `run`.
        """
        from narke.tune.trainable.util import with_resources

        trainer = self
        scaling = self._scaling

        def train(config: dict[str, Any]) -> None:
            from narke.train import _session

            trial = _session.require("a trial")
            for metrics in trainer.run_iterator(train_func, config, dataset):
                trial.report(metrics[0])

        return with_resources(train, scaling.as_placement_group_factory())

    def to_worker_group(self, train_cls: type, *args: Any, **kwargs: Any) -> TrainWorkerGroup:
        """Actors of a class on workers, joined by the backend.

        Args:
            train_cls: the class.
            args, kwargs: of its constructor.
        """
        group = WorkerGroup(
            GroupSpec(self._scaling._resources_per_worker_not_none), self._scaling.num_workers
        )
        backend = self._config.backend_cls()
        backend.on_start(group, self._config)
        backend.on_training_start(group, self._config)
        group.execute(_make, train_cls, args, kwargs)
        return TrainWorkerGroup(group)


class TrainingIterator:
    """What the workers of a run report, one report after another.

    Args:
        run: runs with a function that is told each report.
        trainer: whose run it is.
    """

    def __init__(self, run: Callable[[Callable], None], trainer: Trainer, *more: Any) -> None:
        self._reports: queue.Queue[Any] = queue.Queue(maxsize=1000)
        self._trainer, self._error, self._done = trainer, None, False
        self._thread = threading.Thread(target=self._conduct, args=(run,), daemon=True)
        self._thread.start()

    def _conduct(self, run: Callable[[Callable], None]) -> None:
        try:
            run(self._reports.put)
        except Exception as error:
            self._error = error  # type: ignore[assignment]
        self._reports.put(_END)

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        return self

    def __next__(self) -> list[dict[str, Any]]:
        found: Any = _END if self._done else self._reports.get()
        if found is not _END:
            return found
        self._done = True
        if self._error is not None:
            raise self._error
        raise StopIteration

    def is_finished(self) -> bool:
        """Whether all reports were given."""
        return self._done

    def get_final_results(self, force: bool = False) -> list[Any]:
        """What the function returned, by rank.

        Args:
            force: wait for the end, leaving reports out.

        Raises:
            RuntimeError: the run goes on and `force` is not set.
        """
        if not self._done and not force:
            raise RuntimeError("the run goes on: iterate to its end, or pass force=True")
        for _ in self:
            pass
        return self._trainer._returned


class TrainWorkerGroup:
    """Actors of a user's class, by rank.

    Args:
        worker_group: in whose processes they are.
    """

    def __init__(self, worker_group: WorkerGroup) -> None:
        self._group = worker_group

    def __getitem__(self, item: int) -> Any:
        return _Remote(self._group.workers[item].actor)

    def __len__(self) -> int:
        return len(self._group)

    def shutdown(self, patience_s: float = 5) -> None:
        """End the actors."""
        self._group.shutdown()


class _Remote:
    """Gives methods with `remote` of an object in a worker."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _RemoteMethod(self._actor, name)


class _RemoteMethod:
    def __init__(self, actor: Any, name: str) -> None:
        self._actor, self._name = actor, name

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        return self._actor.execute.remote(_call, self._name, args, kwargs)


_made: Any = None  # in a worker's process: the user's object


def _make(kind: type, args: tuple, kwargs: dict[str, Any]) -> None:
    global _made
    _made = kind(*args, **kwargs)


def _call(name: str, args: tuple, kwargs: dict[str, Any]) -> Any:
    return getattr(_made, name)(*args, **kwargs)


def backend_of(backend: str | BackendConfig) -> BackendConfig:
    """The configuration of a backend.

    Args:
        backend: its name, or the configuration.

    Raises:
        ValueError: an unknown name.
    """
    if isinstance(backend, BackendConfig):
        return backend
    import importlib

    if backend not in BACKEND_NAME_TO_CONFIG_CLS_NAME:
        raise ValueError(
            f"backend is {backend!r}; it must be one of {sorted(BACKEND_NAME_TO_CONFIG_CLS_NAME)} or a config"
        )
    module = importlib.import_module(f"narke.train.{backend}.config")
    return getattr(module, BACKEND_NAME_TO_CONFIG_CLS_NAME[backend])()


class _Collecting:
    """Runs a function on a worker and brings what it returns to rank 0."""

    def __init__(self, function: Callable, hook: Callable | None) -> None:
        self._function, self._before = function, hook

    def __call__(self, config: dict[str, Any]) -> Any:
        from narke.train.data_parallel_trainer import _bound

        if self._before is not None:
            self._before()
        return _bound(self._function, config)()


class _Reports:
    """Passes complete reports on, as a callback of the run."""

    def __init__(self, relay: Callable[[list[dict[str, Any]]], None]) -> None:
        self._relay = relay

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        if any(metrics):
            self._relay(metrics)

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        return None


def _relay(callbacks: list[Any]) -> Callable[[list[dict[str, Any]]], None]:
    def relay(metrics: list[dict[str, Any]]) -> None:
        for each in callbacks:
            each.process_results(metrics)

    return relay
