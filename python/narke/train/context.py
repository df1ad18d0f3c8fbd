"""What a training function can learn about its run and its place in it."""

from __future__ import annotations

import abc
import os
from typing import TYPE_CHECKING, Any

from narke.train import _session

if TYPE_CHECKING:
    from narke.train._storage import StorageContext
    from narke.train._worker_session import WorkerSpec

__all__ = ["LocalContext", "TrainContext", "WorkerContext", "get_context"]


class TrainContext(abc.ABC):
    """The run and this worker's place in it; `get_context` gives it."""

    @abc.abstractmethod
    def get_experiment_name(self) -> str:
        """The run's name."""

    @abc.abstractmethod
    def get_world_size(self) -> int:
        """The number of workers."""

    @abc.abstractmethod
    def get_world_rank(self) -> int:
        """This worker's rank among all."""

    @abc.abstractmethod
    def get_local_rank(self) -> int:
        """This worker's rank among those of its node."""

    @abc.abstractmethod
    def get_local_world_size(self) -> int:
        """The number of workers on this node."""

    @abc.abstractmethod
    def get_node_rank(self) -> int:
        """This node's rank among the nodes."""

    @abc.abstractmethod
    def get_storage(self) -> StorageContext:
        """Where the run's files are."""

    def get_metadata(self) -> dict[str, Any] | None:
        """The metadata given to the trainer."""
        return None

    def get_trial_name(self) -> str:
        """The name of the run's trial; the run's name if it is none of Tune's."""
        return self.get_experiment_name()

    def get_trial_id(self) -> str:
        """The id of the run's trial; of the run if it is none of Tune's."""
        return self.get_experiment_name()

    def get_trial_resources(self) -> Any:
        """What the run's trial holds."""
        return None

    def get_trial_dir(self) -> str:
        """The run's folder."""
        return self.get_storage().trial_fs_path


class WorkerContext(TrainContext):
    """The context of a training worker.

    Args:
        spec: what the worker was told.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec

    def get_experiment_name(self) -> str:
        return self._spec.experiment

    def get_world_size(self) -> int:
        return self._spec.world_size

    def get_world_rank(self) -> int:
        return self._spec.rank

    def get_local_rank(self) -> int:
        return self._spec.place.local_rank

    def get_local_world_size(self) -> int:
        return self._spec.place.local_world_size

    def get_node_rank(self) -> int:
        return self._spec.place.node_rank

    def get_storage(self) -> StorageContext:
        return self._spec.storage

    def get_metadata(self) -> dict[str, Any] | None:
        return self._spec.metadata

    def get_trial_name(self) -> str:
        return self._spec.trial_name

    def get_trial_id(self) -> str:
        return self._spec.trial_id

    def get_trial_resources(self) -> Any:
        return self._spec.trial_resources


class LocalContext(TrainContext):
    """The context of a function that no worker group runs: one process, or one started by torchrun.

    Args:
        experiment_name: the run's name.
        world_size, world_rank, local_rank, local_world_size, node_rank: of this process.
    """

    def __init__(
        self,
        experiment_name: str,
        world_size: int = 1,
        world_rank: int = 0,
        local_rank: int = 0,
        local_world_size: int = 1,
        node_rank: int = 0,
    ) -> None:
        self.experiment_name = experiment_name
        self.world_size = world_size
        self.world_rank = world_rank
        self.local_rank = local_rank
        self.local_world_size = local_world_size
        self.node_rank = node_rank

    def get_experiment_name(self) -> str:
        return self.experiment_name

    def get_world_size(self) -> int:
        return self.world_size

    def get_world_rank(self) -> int:
        return self.world_rank

    def get_local_rank(self) -> int:
        return self.local_rank

    def get_local_world_size(self) -> int:
        return self.local_world_size

    def get_node_rank(self) -> int:
        return self.node_rank

    def get_storage(self) -> StorageContext:
        raise RuntimeError("a function that runs without workers (num_workers=0) has no storage")


def get_context() -> TrainContext:
    """The context of the training function that runs in this process.

    Returns:
        outside of one, the context of a single process, so that code runs without a trainer too.
    """
    session = _session.current()
    if session is not None:
        return session.get_context()
    environment = os.environ
    return LocalContext(
        "",
        *(
            int(environment.get(name, default))
            for name, default in (
                ("WORLD_SIZE", "1"),
                ("RANK", "0"),
                ("LOCAL_RANK", "0"),
                ("LOCAL_WORLD_SIZE", "1"),
                ("GROUP_RANK", "0"),
            )
        ),
    )
