"""`Experiment`: what runs, with which configurations, where its files go."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from narke.tune._naming import dated, is_dated
from narke.tune.error import TuneError
from narke.tune.registry import register_trainable, validate_trainable
from narke.tune.stopper import CombinedStopper, FunctionStopper, Stopper, TimeoutStopper

if TYPE_CHECKING:
    from narke.air.config import CheckpointConfig
    from narke.tune.syncer import SyncConfig

__all__ = ["Experiment"]

_OLD_KEYS = ("checkpoint_freq", "checkpoint_at_end", "keep_checkpoints_num", "checkpoint_score_attr")


class Experiment:
    """One experiment. `tune.run` and `Tuner` make it themselves; `run_experiments` takes it.

    Args:
        name: its folder below the storage path; from the trainable and the time if None.
        run: the trainable: function, class, or registered name.
        stop: when trials end: {metric: bound}, a stopper, a function of (trial id, result), or a list of such.
        time_budget_s: seconds (or timedelta) after which all ends.
        config: configuration with search spaces.
        resources_per_trial: dict or `PlacementGroupFactory`.
        num_samples: how many times the space is sampled; -1 without end.
        storage_path, storage_filesystem: where the files go.
        sync_config, checkpoint_config: see there.
        trial_name_creator, trial_dirname_creator: make names of trials and of their folders.
        log_to_file: write trials' output to files.
        export_formats: what trainables export at the end.
        max_failures: how often a trial begins again after a failure.
        restore: checkpoint that trials begin from.
        local_dir: old name of `storage_path`.

    Raises:
        TuneError: the trainable is not known.
        ValueError: `stop` is of another kind.
    """

    PUBLIC_KEYS = {"stop", "num_samples", "time_budget_s"}

    def __init__(
        self,
        name: str | None,
        run: str | Callable | type,
        *,
        stop: Mapping | Stopper | Callable | Sequence | None = None,
        time_budget_s: Any = None,
        config: dict[str, Any] | None = None,
        resources_per_trial: Any = None,
        num_samples: int = 1,
        storage_path: str | None = None,
        storage_filesystem: Any = None,
        sync_config: SyncConfig | dict | None = None,
        checkpoint_config: CheckpointConfig | dict | None = None,
        trial_name_creator: Callable | None = None,
        trial_dirname_creator: Callable | None = None,
        log_to_file: bool | str | Sequence = False,
        export_formats: Sequence | None = None,
        max_failures: int = 0,
        restore: str | None = None,
        local_dir: str | None = None,
    ) -> None:
        from narke.air.config import CheckpointConfig, default_storage_path
        from narke.train._storage import StorageContext
        from narke.tune.syncer import SyncConfig

        if isinstance(checkpoint_config, dict):
            checkpoint_config = CheckpointConfig(**checkpoint_config)
        if isinstance(sync_config, dict):
            sync_config = SyncConfig(**sync_config)
        _check_samples(num_samples)
        self._run_identifier = self.register_if_needed(run)
        given = (
            storage_path
            or getattr(sync_config, "storage_folder", None)
            or local_dir
            or default_storage_path()
        )
        chosen = name or dated(self._run_identifier)
        self.storage = StorageContext(
            os.fspath(given), chosen, storage_filesystem=storage_filesystem, sync_config=sync_config
        )
        if name is None and is_dated():
            self._take_free_name()
        criterion, self._stopper = _stopping(stop, time_budget_s)
        self._checkpoint_config = checkpoint_config or CheckpointConfig()
        _refuse_function_checkpoints(run, self._run_identifier, self._checkpoint_config)
        self.name = self.storage.experiment_dir_name
        self.dir_name = self.name
        self.restored = False
        self.spec: dict[str, Any] = {
            "run": self._run_identifier,
            "stop": criterion,
            "time_budget_s": time_budget_s,
            "config": config or {},
            "resources_per_trial": resources_per_trial,
            "num_samples": num_samples,
            "checkpoint_config": self._checkpoint_config,
            "trial_name_creator": trial_name_creator,
            "trial_dirname_creator": trial_dirname_creator,
            "log_to_file": log_to_file or None,
            "export_formats": list(export_formats or []),
            "max_failures": max_failures,
            "restore": os.path.abspath(os.path.expanduser(restore)) if restore else None,
            "storage": self.storage,
        }

    def _take_free_name(self) -> None:
        """Two experiments begun within one second get folders of their own."""
        from narke.train._storage import exists

        chosen, number = self.storage.experiment_dir_name, 1
        while exists(self.storage.storage_filesystem, self.storage.experiment_fs_path):
            number += 1
            self.storage.experiment_dir_name = f"{chosen}_{number}"

    @classmethod
    def from_json(cls, name: str, spec: dict[str, Any]) -> Experiment:
        """Make an experiment of a dict such as ``{"run": ..., "config": {...}, "num_samples": 3}``.

        Args:
            name: of the experiment.
            spec: arguments of this class; also ``env``, which becomes part of the configuration.

        Raises:
            TuneError: no trainable, or what is no argument.
        """
        from narke.air.config import CheckpointConfig

        if "run" not in spec:
            raise TuneError(f"the specification of experiment {name!r} has no 'run': name a trainable there")
        spec = copy.copy(spec)
        if "env" in spec:
            spec["config"] = {**(spec.get("config") or {}), "env": spec.pop("env")}
        old = {key: spec.pop(key) for key in _OLD_KEYS if key in spec}
        if old and "checkpoint_config" not in spec:
            spec["checkpoint_config"] = CheckpointConfig(**checkpoint_arguments(**old))
        run = spec.pop("run")
        try:
            return cls(name, run, **spec)
        except TypeError as error:
            raise TuneError(f"Improper argument from JSON: {spec}. Error: {error}") from error

    @classmethod
    def get_trainable_name(cls, run_object: str | Callable | type) -> str:
        """What a trainable is called.

        Raises:
            TuneError: it is no trainable.
        """
        if isinstance(run_object, str):
            return run_object.removesuffix(".remote")
        if isinstance(run_object, partial):
            return cls.get_trainable_name(run_object.func)
        name = getattr(run_object, "_name", None) or getattr(run_object, "__name__", None)
        if name == "<lambda>":
            return "lambda"
        if name:
            return str(name)
        if callable(run_object):
            return type(run_object).__name__
        raise TuneError(
            f"a trainable is a function, a class derived from Trainable or a name, not {run_object!r}"
        )

    @classmethod
    def register_if_needed(cls, run_object: str | Callable | type) -> str:
        """Register a trainable, unless it is a name.

        Returns:
            its name.

        Raises:
            TuneError: the name is not known, or the object is no trainable.
        """
        name = cls.get_trainable_name(run_object)
        if isinstance(run_object, str):
            validate_trainable(name)
            return name
        try:
            register_trainable(name, run_object)
        except TypeError as error:
            raise TuneError(str(error)) from error
        return name

    @property
    def stopper(self) -> Stopper | None:
        """What ends trials, besides a criterion of metrics."""
        return self._stopper

    @property
    def local_path(self) -> str:
        """The local folder for the experiment's files."""
        from narke.tune.experiment.trial import _local_experiment_path

        return str(_local_experiment_path(self.storage))

    local_dir = local_path

    @property
    def path(self) -> str:
        """The experiment's folder in the storage."""
        return self.storage.experiment_fs_path

    remote_path = path
    checkpoint_dir = path
    remote_checkpoint_dir = path

    @classmethod
    def get_experiment_checkpoint_dir(
        cls, run_obj: str | Callable | type, local_dir: str | None = None, name: str | None = None
    ) -> str:
        """The folder that an experiment would have.

        Args:
            run_obj: the trainable.
            local_dir: of all experiments.
            name: of the experiment.
        """
        from narke.air.config import default_storage_path

        folder = name or dated(cls.get_trainable_name(run_obj))
        return os.path.join(local_dir or default_storage_path(), folder)

    @property
    def checkpoint_config(self) -> CheckpointConfig:
        """When checkpoints are made, and which are kept."""
        return self._checkpoint_config

    @property
    def run_identifier(self) -> str:
        """The registered name of the trainable."""
        return self._run_identifier

    @property
    def public_spec(self) -> dict[str, Any]:
        """The parts of the specification that callbacks see."""
        return {key: value for key, value in self.spec.items() if key in self.PUBLIC_KEYS}


def checkpoint_arguments(
    checkpoint_freq: int = 0,
    checkpoint_at_end: bool = False,
    keep_checkpoints_num: int | None = None,
    checkpoint_score_attr: str | None = None,
) -> dict[str, Any]:
    """The arguments of `CheckpointConfig` that older arguments mean; "min-loss" is the metric loss, the least best."""
    attribute, order = checkpoint_score_attr, "max"
    if attribute and attribute.startswith("min-"):
        attribute, order = attribute[4:], "min"
    return {
        "num_to_keep": keep_checkpoints_num,
        "checkpoint_score_attribute": attribute,
        "checkpoint_score_order": order,
        "checkpoint_frequency": checkpoint_freq,
        "checkpoint_at_end": checkpoint_at_end or None,
    }


def _check_samples(num_samples: Any) -> None:
    if (
        not isinstance(num_samples, int)
        or isinstance(num_samples, bool)
        or (num_samples < 1 and num_samples != -1)
    ):
        raise ValueError(
            f"num_samples is {num_samples!r}; it must be a whole number above 0, or -1 for no end"
        )


def _refuse_function_checkpoints(run: Any, name: str, config: CheckpointConfig) -> None:
    from narke.tune.registry import get_trainable_cls
    from narke.tune.trainable.function_trainable import FunctionTrainable

    wanted = [
        key
        for key in ("checkpoint_frequency", "checkpoint_at_end")
        if getattr(config, key) not in (None, 0, False)
    ]
    known = getattr(config, wanted[0]) not in ("DEPRECATED",) if wanted else False
    if known and issubclass(get_trainable_cls(name), FunctionTrainable) and not hasattr(run, "_is_trainer"):
        raise ValueError(
            f"{' and '.join(wanted)} do nothing for the function {name!r}: it makes checkpoints itself, with "
            "tune.report(metrics, checkpoint=...)"
        )


def _stopping(stop: Any, time_budget_s: Any) -> tuple[dict[str, Any], Stopper | None]:
    """The criterion of metrics, and the stopper, that `stop` and a time budget mean."""
    criterion: dict[str, Any] = {}
    stopper: Stopper | None = None
    if isinstance(stop, Sequence) and not isinstance(stop, str):
        if any(not callable(each) for each in stop):
            raise ValueError(f"a list for `stop` holds stoppers and functions; here it is {stop!r}")
        stopper = CombinedStopper(
            *[each if isinstance(each, Stopper) else FunctionStopper(each) for each in stop]
        )
    elif isinstance(stop, Mapping):
        criterion = dict(stop)
    elif isinstance(stop, Stopper):
        stopper = stop
    elif callable(stop):
        if not FunctionStopper.is_valid_function(stop):
            parameters = list(inspect.signature(stop).parameters)
            raise ValueError(f"a function for `stop` takes (trial_id, result), not {parameters}")
        stopper = FunctionStopper(stop)
    elif stop is not None:
        raise ValueError(
            f"`stop` is a dict, a stopper, a function of (trial_id, result) or a list, not {stop!r}"
        )
    if time_budget_s:
        timeout = TimeoutStopper(time_budget_s)
        stopper = CombinedStopper(stopper, timeout) if stopper else timeout
    return criterion, stopper


def _convert_to_experiment_list(experiments: Any) -> list[Experiment]:
    """One experiment, a list of them, or {name: specification} as a list.

    Raises:
        TuneError: another kind.
    """
    if experiments is None:
        return []
    if isinstance(experiments, Experiment):
        return [experiments]
    if isinstance(experiments, dict):
        return [
            spec if isinstance(spec, Experiment) else Experiment.from_json(name, spec)
            for name, spec in experiments.items()
        ]
    if isinstance(experiments, (list, tuple)) and all(isinstance(each, Experiment) for each in experiments):
        return list(experiments)
    raise TuneError(
        f"experiments are one Experiment, a list of them or a dict of specifications, not {experiments!r}"
    )
