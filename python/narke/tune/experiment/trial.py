"""`Trial`: one configuration and what became of it.

``PENDING -> RUNNING -> (PAUSED -> PENDING ...) -> TERMINATED or ERROR``. A trial holds no handle of a process: the
controller drives processes and tells the trial what came.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from narke.tune._checkpoints import CheckpointList, TrainingResult
from narke.tune._naming import dirname_stamp
from narke.tune._states import decode, encode
from narke.tune.error import TuneError
from narke.tune.experiment._trial_state import common_state, own_state, put_state, runtime_state
from narke.tune.result import DONE, EXPR_ERROR_FILE, EXPR_ERROR_PICKLE_FILE, TRAINING_ITERATION
from narke.tune.search.util import flattened
from narke.tune.trainable.metadata import RunMetadata

if TYPE_CHECKING:
    from narke.air.config import CheckpointConfig
    from narke.train._checkpoint import Checkpoint
    from narke.train._storage import StorageContext
    from narke.tune.execution.placement_groups import PlacementGroupFactory
    from narke.tune.trainable.trainable import Trainable

__all__ = ["DEBUG_PRINT_INTERVAL", "TRIAL_STATE_FILENAME", "ExportFormat", "Trial"]

DEBUG_PRINT_INTERVAL = 5
TRIAL_STATE_FILENAME = "trial_metadata.json"
_MAX_DIRNAME = 130
logger = logging.getLogger(__name__)


class ExportFormat:
    """What a trainable can export at the end."""

    CHECKPOINT = "checkpoint"
    MODEL = "model"
    ONNX = "onnx"
    H5 = "h5"

    @staticmethod
    def validate(formats: list[str]) -> None:
        """Strip and check names of formats, in place.

        Raises:
            TuneError: an unknown one.
        """
        known = (ExportFormat.CHECKPOINT, ExportFormat.MODEL, ExportFormat.ONNX, ExportFormat.H5)
        for at, name in enumerate(formats):
            formats[at] = name.strip().lower()
            if formats[at] not in known:
                raise TuneError(f"unsupported export format {name!r}; there are {', '.join(known)}")


class _TemporaryState:
    """What a trial has while it runs, and no experiment state keeps."""

    def __init__(self) -> None:
        self.location: Any = None
        self.ray_actor: Any = None
        self.saving_to: Any = None
        self.restoring_from: Any = None
        self.num_restore_failures = 0
        self.folder_made: str | None = None
        self.places: tuple[Any, str, str | None] = (None, "", None)  # storage, folder's name, local path


class Trial:
    """One configuration of an experiment, its state and its results.

    Args:
        trainable_name: registered name of what runs.
        config: the configuration.
        trial_id: 8 or more characters, unique in the experiment; drawn if None.
        storage: the experiment's.
        evaluated_params: the values of the search space's variables, by name.
        experiment_tag: number and values, in the folder's name.
        placement_group_factory: what it holds; the trainable's default if None.
        stopping_criterion: {metric: value} that ends it.
        checkpoint_config: when checkpoints are made, and which are kept.
        export_formats: to export at the end.
        restore_path: checkpoint to begin from.
        trial_name_creator, trial_dirname_creator: make its name and folder.
        log_to_file: (file of the output, file of the errors), relative to its folder.
        max_failures: how often to begin again after a failure; -1 for ever.
        stub: without a registered trainable, to look at results only.
    """

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    TERMINATED = "TERMINATED"
    ERROR = "ERROR"

    def __init__(
        self,
        trainable_name: str,
        *,
        config: dict[str, Any] | None = None,
        trial_id: str | None = None,
        storage: StorageContext | None = None,
        evaluated_params: dict[str, Any] | None = None,
        experiment_tag: str = "",
        placement_group_factory: PlacementGroupFactory | None = None,
        stopping_criterion: dict[str, float] | None = None,
        checkpoint_config: CheckpointConfig | None = None,
        export_formats: list[str] | None = None,
        restore_path: str | None = None,
        trial_name_creator: Callable[[Trial], str] | None = None,
        trial_dirname_creator: Callable[[Trial], str] | None = None,
        log_to_file: str | bool | tuple[str | None, str | None] | None = None,
        max_failures: int = 0,
        stub: bool = False,
        _setup_default_resource: bool = True,
    ) -> None:
        self.stub = stub
        self.trainable_name = trainable_name
        self.trial_id = trial_id if trial_id is not None else self.generate_id()
        self.config = config or {}
        self.evaluated_params = evaluated_params or {}
        self.experiment_tag = experiment_tag
        self.stopping_criterion = stopping_criterion or {}
        self.checkpoint_config = checkpoint_config
        self.max_failures = max_failures
        self.export_formats = list(export_formats or [])
        self.restore_path = restore_path
        self.trial_name_creator = trial_name_creator
        self.trial_dirname_creator = trial_dirname_creator
        self.log_to_file = _log_files(log_to_file)
        self.placement_group_factory: Any = placement_group_factory
        self._setup_default_resource = _setup_default_resource
        self.status = Trial.PENDING
        self.run_metadata = RunMetadata()
        self.temporary_state = _TemporaryState()
        self.checkpoints = CheckpointList(checkpoint_config)
        self.resume_from: TrainingResult | None = None
        self.storage = storage
        self.restored_index = -1  # of the last checkpoint before the experiment was restored
        self._created = time.time()
        self.custom_trial_name: str | None = self._custom_name(trial_name_creator)
        self.custom_dirname: str | None = self._custom_dirname(trial_dirname_creator)
        self.relative_logdir = self.custom_dirname or self._default_dirname()
        if not stub and placement_group_factory is None and _setup_default_resource:
            self.placement_group_factory = self.create_placement_group_factory()

    # ---- names and places

    def _custom_name(self, creator: Callable[[Trial], str] | None) -> str | None:
        return str(creator(self)) if creator else None

    def _custom_dirname(self, creator: Callable[[Trial], str] | None) -> str | None:
        if creator is None:
            return None
        name = str(creator(self))
        if "/" in name:
            raise ValueError(
                f"trial_dirname_creator gave {name!r} for trial {self}; a folder's name has no '/'"
            )
        return name

    def _default_dirname(self) -> str:
        name = f"{self}_{self.experiment_tag}"[:_MAX_DIRNAME]
        return re.sub(r"[/()]", "_", f"{name}_{dirname_stamp(self._created)}")

    @classmethod
    def generate_id(cls) -> str:
        """Return a new identifier of 8 characters."""
        return uuid.uuid4().hex[:8]

    @property
    def experiment_dir_name(self) -> str | None:
        """The folder of the experiment."""
        return self.storage.experiment_dir_name if self.storage else None

    @property
    def local_experiment_path(self) -> str | None:
        """The local folder for the experiment's files: the storage itself if it is local."""
        return _local_experiment_path(self.storage)

    @property
    def remote_experiment_path(self) -> str | None:
        """The experiment's folder in the storage."""
        return self.storage.experiment_fs_path if self.storage else None

    @property
    def path(self) -> str | None:
        """The trial's folder in the storage."""
        return f"{self.storage.experiment_fs_path}/{self.relative_logdir}" if self.storage else None

    remote_path = path

    @property
    def local_path(self) -> str | None:
        """The local folder for the trial's files."""
        storage, name, path = self.temporary_state.places
        if storage is None or storage is not self.storage or name != self.relative_logdir:
            parent = self.local_experiment_path
            path = os.path.join(parent, self.relative_logdir) if parent else None
            self.temporary_state.places = (self.storage, self.relative_logdir, path)
        return path

    local_dir = local_experiment_path
    logdir = local_path

    @property
    def remote_checkpoint_dir(self) -> str | None:
        """`path`, under its older name."""
        return self.path

    @property
    def uses_cloud_checkpointing(self) -> bool:
        """Whether the storage is not a local folder."""
        return self.path != self.local_path

    @property
    def sync_on_checkpoint(self) -> bool:
        """Whether files in the working folder are uploaded with checkpoints."""
        return bool(self.storage and self.storage.sync_config.sync_artifacts_on_checkpoint)

    def init_local_path(self) -> None:
        """Make the local folder."""
        path = self.local_path
        if path is None:
            raise TuneError(f"trial {self} has no storage yet, so it has no folder")
        if self.temporary_state.folder_made != path:
            os.makedirs(path, exist_ok=True)
            self.temporary_state.folder_made = path

    init_logdir = init_local_path

    def set_storage(self, new_storage: StorageContext) -> None:
        """Move to a storage, with checkpoints that lay in the trial's folder before, wherever that was."""
        self.storage = new_storage
        for result in [
            *self.checkpoints.results,
            *([self.checkpoints.latest] if self.checkpoints.latest else []),
        ]:
            _rebase(result, self.relative_logdir, self.path, new_storage)

    # ---- state

    @property
    def last_result(self) -> dict[str, Any]:
        """The last result with config and tag; {} before the first."""
        result = self.run_metadata.last_result
        if not result:
            return {}
        if "config" not in result:
            result["config"] = self.config
        return result

    @property
    def metric_analysis(self) -> dict[str, dict[str, float]]:
        """By metric: max, min, avg, last, last-5-avg, last-10-avg."""
        return self.run_metadata.metric_analysis

    @property
    def metric_n_steps(self) -> dict[str, Any]:
        """By metric: its last 5 and 10 values."""
        return self.run_metadata.metric_n_steps

    @property
    def has_reported_at_least_once(self) -> bool:
        """Whether there is a result."""
        return self.run_metadata.num_results > 0

    @property
    def num_failures(self) -> int:
        """How often it failed."""
        return self.run_metadata.num_failures

    @property
    def num_failures_after_restore(self) -> int:
        """How often it failed since the experiment was restored."""
        return self.run_metadata.num_failures_after_restore

    @property
    def node_ip(self) -> str | None:
        """The address of the node it ran on last."""
        return self.run_metadata.last_result.get("node_ip")

    @property
    def is_restoring(self) -> bool:
        """Whether it is going back to a checkpoint now."""
        return self.temporary_state.restoring_from is not None

    @property
    def is_saving(self) -> bool:
        """Whether it is making a checkpoint now."""
        return self.temporary_state.saving_to is not None

    def is_finished(self) -> bool:
        """Whether it ended, well or not."""
        return self.status in (Trial.ERROR, Trial.TERMINATED)

    def set_status(self, status: str) -> None:
        """Go to a status; the first RUNNING sets the start time."""
        self.status = status
        if status == Trial.RUNNING and self.run_metadata.start_time is None:
            self.run_metadata.start_time = time.time()

    def set_config(self, config: dict[str, Any]) -> None:
        """Change the configuration; it holds from the next start."""
        self.config = config

    def set_experiment_tag(self, experiment_tag: str) -> None:
        """Change the tag."""
        self.experiment_tag = experiment_tag

    def set_location(self, location: Any) -> None:
        """Note where it runs."""
        self.temporary_state.location = location

    def set_ray_actor(self, ray_actor: Any) -> None:
        """Note the actor it runs in."""
        self.temporary_state.ray_actor = ray_actor

    def set_runner(self, runner: Any) -> None:
        """Note the actor it runs in, as older programs call it."""
        self.set_ray_actor(runner)

    def get_ray_actor_ip(self) -> str | None:
        """The address of the node of its actor."""
        return self.node_ip

    get_runner_ip = get_ray_actor_ip

    def resolve_config_placeholders(self, placeholder_resolvers: dict[tuple, Any]) -> None:
        """Put the values into the configuration that placeholders stand for."""
        from narke.tune.impl.placeholder import resolve_placeholders

        resolve_placeholders(self.config, placeholder_resolvers)

    def reset(self) -> Trial:
        """A new trial of the same configuration, with an identifier and a folder of its own."""
        return Trial(
            self.trainable_name,
            config=self.config,
            trial_id=None,
            storage=self.storage,
            evaluated_params=self.evaluated_params,
            experiment_tag=self.experiment_tag,
            placement_group_factory=self.placement_group_factory,
            stopping_criterion=self.stopping_criterion,
            checkpoint_config=self.checkpoint_config,
            export_formats=self.export_formats,
            restore_path=self.restore_path,
            trial_name_creator=self.trial_name_creator,
            trial_dirname_creator=self.trial_dirname_creator,
            log_to_file=self.log_to_file,
            max_failures=self.max_failures,
            stub=self.stub,
        )

    # ---- resources

    def get_trainable_cls(self) -> type[Trainable] | None:
        """The class that runs; None of a stub."""
        from narke.tune.registry import get_trainable_cls

        return None if self.stub else get_trainable_cls(self.trainable_name)

    def create_placement_group_factory(self) -> PlacementGroupFactory:
        """What the trainable asks for with this configuration: one CPU unless it says otherwise."""
        cls = self.get_trainable_cls()
        default = cls.default_resource_request(self.config) if cls is not None else None
        return default if default is not None else _one_cpu()

    def update_resources(self, resources: dict | PlacementGroupFactory) -> None:
        """Change what it holds, from its next start.

        Raises:
            ValueError: it runs.
        """
        from narke.tune.execution.placement_groups import resource_dict_to_pg_factory

        if self.status == Trial.RUNNING:
            raise ValueError(f"the resources of trial {self} cannot change while it runs; pause it first")
        self.placement_group_factory = (
            resource_dict_to_pg_factory(resources) if isinstance(resources, dict) else resources
        )

    # ---- results

    def update_last_result(self, result: dict[str, Any]) -> None:
        """Take a result."""
        if self.experiment_tag:
            result.setdefault("experiment_tag", self.experiment_tag) if result.get(DONE) else None
        self.run_metadata.update_result(result, flattened(result))
        self.run_metadata.last_result_time = time.time()

    def should_stop(self, result: dict[str, Any]) -> bool:
        """Whether a result ends the trial: it says so, or the criterion is met.

        Raises:
            TuneError: the criterion names what was not reported.
        """
        if result.get(DONE):
            return True
        flat = flattened(result) if self.stopping_criterion else {}
        for name, bound in self.stopping_criterion.items():
            if name in flat:
                if flat[name] >= bound:
                    return True
            elif os.environ.get("TUNE_DISABLE_STRICT_METRIC_CHECKING", "0") != "1":
                raise TuneError(
                    f"Stopping criteria {name} not provided in result dict. Keys are {sorted(map(str, result))}."
                )
        return False

    def should_checkpoint(self) -> bool:
        """Whether a checkpoint is due after the last result."""
        result = self.run_metadata.last_result
        if result.get(DONE) and self.checkpoint_at_end:
            return True
        frequency = self.checkpoint_freq
        return bool(frequency) and result.get(TRAINING_ITERATION, 0) % frequency == 0

    @property
    def checkpoint_freq(self) -> int:
        """Every how many results a checkpoint is made; 0 never."""
        value = self.checkpoint_config.checkpoint_frequency if self.checkpoint_config else 0
        return value if isinstance(value, int) else 0

    @property
    def checkpoint_at_end(self) -> bool:
        """Whether one is made at the end."""
        value = self.checkpoint_config.checkpoint_at_end if self.checkpoint_config else False
        return value is True

    # ---- checkpoints

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The latest checkpoint."""
        return self.checkpoints.latest.checkpoint if self.checkpoints.latest else None

    @property
    def latest_checkpoint_result(self) -> TrainingResult | None:
        """The latest checkpoint with its metrics."""
        return self.checkpoints.latest

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint."""
        return self.checkpoint is not None

    def on_checkpoint(self, checkpoint_result: TrainingResult) -> list[TrainingResult]:
        """Take a new checkpoint; returns those that are not kept."""
        if self.storage is not None and checkpoint_result.checkpoint is not None:
            name = os.path.basename(checkpoint_result.checkpoint.path)
            if name.startswith("checkpoint_") and name[11:].isdigit():
                self.storage.current_checkpoint_index = int(name[11:])
        return self.checkpoints.add(checkpoint_result)

    def begin_from(self, result: TrainingResult | None) -> None:
        """Take note of the checkpoint it begins from, which is not deleted until its first result is there.

        Args:
            result: `resume_from`, which is pinned already, its own latest, or None.
        """
        before = self.temporary_state.restoring_from
        if result is not None and result is not self.resume_from:
            result.pins += 1
        if before is not None and before.pins:
            before.pins -= 1
        self.temporary_state.restoring_from, self.resume_from = result, None

    def on_restore(self) -> None:
        """Take back the result of the checkpoint it went back to, if it is its own."""
        result = self.temporary_state.restoring_from
        self.temporary_state.restoring_from = None
        self.temporary_state.num_restore_failures = 0
        if result is not None and result.pins:
            result.pins -= 1
        if result is not None and result.metrics and result is self.checkpoints.latest:
            self.run_metadata.last_result = dict(result.metrics)  # type: ignore[union-attr]

    def clear_checkpoint(self) -> None:
        """Forget the latest checkpoint; its files stay."""
        self.checkpoints.latest = None
        self.temporary_state.restoring_from = None

    def get_trial_checkpoints(self) -> list[TrainingResult]:
        """The kept checkpoints, worst first."""
        return self.checkpoints.best()

    # ---- failures

    @property
    def error_file(self) -> str | None:
        """The file with the errors' texts."""
        return self._in_folder(self.run_metadata.error_filename)

    @property
    def pickled_error_file(self) -> str | None:
        """The file with the last error, pickled."""
        return self._in_folder(self.run_metadata.pickled_error_filename)

    def _in_folder(self, name: str | None) -> str | None:
        return os.path.join(self.local_path, name) if name and self.local_path else None

    def handle_error(self, exc: Exception | None = None) -> None:
        """Count a failure and write it into the trial's folder."""
        from narke import cloudpickle

        self.run_metadata.num_failures += 1
        self.run_metadata.num_failures_after_restore += 1
        if self.local_path is None:
            return
        self.init_local_path()
        self.run_metadata.error_filename = EXPR_ERROR_FILE
        with open(os.path.join(self.local_path, EXPR_ERROR_FILE), "a", encoding="utf-8") as file:
            when = dirname_stamp(time.time())
            file.write(f"Failure # {self.run_metadata.num_failures} (occurred at {when})\n{_text_of(exc)}\n")
        if exc is not None:
            self.run_metadata.pickled_error_filename = EXPR_ERROR_PICKLE_FILE
            with open(os.path.join(self.local_path, EXPR_ERROR_PICKLE_FILE), "wb") as binary:
                binary.write(_picklable(exc, cloudpickle))

    def should_recover(self) -> bool:
        """Whether a failure may be tried again."""
        failures = self.run_metadata.num_failures_after_restore
        return self.max_failures < 0 or failures <= self.max_failures

    def get_error(self) -> Exception | None:
        """The error it ended with, None if it did not fail."""
        if self.status == Trial.ERROR:
            error = self.get_pickled_error()
            if error is not None:
                return error
            if self.error_file and os.path.exists(self.error_file):
                with open(self.error_file, encoding="utf-8") as file:
                    return TuneError(file.read())
        return None

    def get_pickled_error(self) -> Exception | None:
        """The last error that was written."""
        from narke import cloudpickle

        path = self.pickled_error_file
        if path is None or not os.path.exists(path):
            return None
        with open(path, "rb") as file:
            return cloudpickle.load(file)

    # ---- as text

    def get_json_state(self) -> tuple[str, str]:
        """Return (what does not change, what became of it) as JSON; `from_json_state` takes it."""
        return encode({**common_state(self), **own_state(self)}), self.get_runtime_state()

    def get_runtime_state(self) -> str:
        """The second part of `get_json_state`."""
        return encode(runtime_state(self))

    @classmethod
    def from_json_state(cls, json_state: tuple[str, str], stub: bool = False) -> Trial:
        """Make a trial of what `get_json_state` gave.

        Args:
            json_state: it.
            stub: without its trainable, to look at results only.
        """
        static = decode(json_state[0])
        return cls.from_parts(static, {}, decode(json_state[1]), stub)

    @classmethod
    def from_parts(
        cls, common: dict[str, Any], own: dict[str, Any], runtime: dict[str, Any], stub: bool = False
    ) -> Trial:
        """Make a trial of the parts that `narke.tune.experiment._trial_state` makes of one.

        Args:
            common: what trials have in common.
            own: what is this trial's own.
            runtime: what became of it.
            stub: without its trainable, to look at results only.
        """
        trial = cls.__new__(cls)
        trial.trial_name_creator = trial.trial_dirname_creator = None
        trial.resume_from = trial.storage = None
        trial.temporary_state = _TemporaryState()
        trial._created = time.time()
        put_state(trial, common, own, runtime, stub)
        return trial

    def restore_run_metadata(self, run_metadata: RunMetadata) -> None:
        """Take the results and failures of another trial."""
        self.run_metadata = run_metadata

    def invalidate_json_state(self) -> None:
        """Nothing is kept that could be out of date: states are made when they are asked for."""

    @classmethod
    def from_directory(cls, path: str | os.PathLike, stub: bool = False) -> Trial:
        """Make a trial of the ``trial_metadata.json`` in its folder.

        Raises:
            FileNotFoundError: there is none.
        """
        file = os.path.join(path, TRIAL_STATE_FILENAME)
        if not os.path.exists(file):
            raise FileNotFoundError(
                f"there is no {TRIAL_STATE_FILENAME} in {path}: this is not a trial's folder"
            )
        import json

        with open(file, encoding="utf-8") as stream:
            static, runtime = json.load(stream)
        return cls.from_json_state((static, runtime), stub=stub)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        if self.custom_trial_name:
            return self.custom_trial_name
        name = self.trainable_name
        env = self.config.get("env") if isinstance(self.config, dict) else None
        if env is not None:
            name = f"{name}_{env.__name__ if isinstance(env, type) else env}"
        return f"{name}_{self.trial_id}".replace("/", "_")


@functools.cache
def _one_cpu() -> PlacementGroupFactory:
    from narke.tune.execution.placement_groups import PlacementGroupFactory

    return PlacementGroupFactory([{"CPU": 1}])


def _log_files(log_to_file: Any) -> tuple[str | None, str | None]:
    if not log_to_file:
        return None, None
    if log_to_file is True:
        return "stdout", "stderr"
    if isinstance(log_to_file, str):
        return log_to_file, log_to_file
    if isinstance(log_to_file, Sequence) and len(log_to_file) == 2:
        return log_to_file[0], log_to_file[1]
    raise ValueError(f"log_to_file is {log_to_file!r}; it must be a bool, one file name or two")


def _local_experiment_path(storage: Any) -> str | None:
    if storage is None:
        return None
    from narke.train._storage import is_local

    return (
        storage.experiment_fs_path
        if is_local(storage.storage_filesystem)
        else storage.experiment_driver_staging_path
    )


def _rebase(result: TrainingResult, name: str | None, new: str | None, storage: StorageContext) -> None:
    """Have a checkpoint lie in a trial's new folder, if it lay in a folder of the trial's name."""
    checkpoint = result.checkpoint
    if checkpoint is None or not name or not new:
        return
    _, found, rest = checkpoint.path.rpartition(f"/{name}/")
    if found and checkpoint.path != f"{new}/{rest}":
        result.checkpoint = type(checkpoint)(f"{new}/{rest}", storage.storage_filesystem)


def _text_of(exc: Exception | None) -> str:
    if exc is None:
        return ""
    cause = getattr(exc, "traceback_str", None)
    return str(cause) if cause else "".join(traceback.format_exception(exc)).strip()


def _picklable(exc: Exception, cloudpickle: Any) -> bytes:
    try:
        return cloudpickle.dumps(exc)
    except Exception:  # an error that holds what cannot be pickled: its text stays
        return cloudpickle.dumps(TuneError(_text_of(exc)))
