"""The workers of one attempt: a placement group with an actor in each bundle."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import narke
from narke.air.execution.resources.request import as_options
from narke.exceptions import RayError
from narke.train import _placing
from narke.train._worker import TrainWorker, WorkerInfo
from narke.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from narke.util.scheduling_strategies import PlacementGroupSchedulingStrategy

__all__ = ["NEVER_FITS_S", "GroupSpec", "NoRoom", "Worker", "WorkerGroup"]

NEVER_FITS_S = 8.0  # how long nodes may take to appear before workers that fit nowhere are an error
_LOOK_S = 0.5
_START_S = 300.0  # for the processes of all workers
_CONCURRENCY = 8  # calls a worker takes while it trains


class NoRoom(RuntimeError):
    """The workers do not fit the cluster."""


@dataclass(frozen=True)
class GroupSpec:
    """What the workers of a run hold and where they are placed.

    Args:
        bundle: resources of a worker.
        strategy: of the placement group.
        selectors: labels of each worker's node.
        runtime_env: of the workers.
        within: a placement group of a trial, whose bundles they use.
        modules: what the workers import before anything of the user's runs (`narke._private.preloads`).
    """

    bundle: dict[str, float]
    strategy: str = "PACK"
    selectors: list[dict[str, str]] | None = None
    runtime_env: Any = None
    within: PlacementGroup | None = None
    modules: tuple[str, ...] | None = None


@dataclass
class Worker:
    """One worker.

    Args:
        actor: its handle.
        info: where it runs.
        place: of its rank.
    """

    actor: Any
    info: WorkerInfo
    place: _placing.Place

    @property
    def metadata(self) -> WorkerInfo:
        """Where it runs, under the name that backends know."""
        return self.info


class WorkerGroup:
    """Workers by rank. What backends may use: `execute`, `execute_async`, `execute_single` and ``len``.

    Args:
        spec: of the workers.
        size: how many.
        wait_s: seconds to wait for nodes that have room.

    Raises:
        NoRoom: they fit nowhere, even if nothing else ran.
        RayError: a worker could not be started.
    """

    def __init__(self, spec: GroupSpec, size: int, wait_s: float = NEVER_FITS_S) -> None:
        self._spec = spec
        self._group = spec.within
        self.workers: list[Worker] = []
        try:
            if self._group is None:
                self._group = _placed(spec, size, wait_s)
            self.workers = self._started(size)
        except BaseException:
            self.shutdown()
            raise

    def __len__(self) -> int:
        return len(self.workers)

    def __iter__(self) -> Iterator[Worker]:
        return iter(self.workers)

    def _started(self, size: int) -> list[Worker]:
        self._actors = [self._actor(at) for at in range(size)]
        infos = narke.get([actor.describe.remote() for actor in self._actors], timeout=_START_S)
        order = _placing.ordered([info.node_id for info in infos])
        places = _placing.places([infos[at].node_id for at in order])
        return [Worker(self._actors[at], infos[at], place) for at, place in zip(order, places, strict=True)]

    def _actor(self, index: int) -> Any:
        assert self._group is not None
        where = PlacementGroupSchedulingStrategy(
            placement_group=self._group,
            placement_group_bundle_index=index,
            placement_group_capture_child_tasks=False,
        )
        options = {
            **as_options(self._spec.bundle),
            "scheduling_strategy": where,
            "max_concurrency": _CONCURRENCY,
            "max_restarts": 0,
            "_preload": self._spec.modules,
        }
        if self._spec.runtime_env:
            options["runtime_env"] = self._spec.runtime_env
        return narke.remote(**options)(TrainWorker).remote()

    def execute(self, fn: Callable, *args: Any, **kwargs: Any) -> list[Any]:
        """Call a function in all workers; its results by rank."""
        return narke.get(self.execute_async(fn, *args, **kwargs))

    def execute_async(self, fn: Callable, *args: Any, **kwargs: Any) -> list[Any]:
        """Call a function in all workers; references to its results by rank."""
        return [worker.actor.execute.remote(fn, *args, **kwargs) for worker in self.workers]

    def execute_single(self, worker_index: int, fn: Callable, *args: Any, **kwargs: Any) -> Any:
        """Call a function in the worker of one rank; its result."""
        return narke.get(self.execute_single_async(worker_index, fn, *args, **kwargs))

    def execute_single_async(self, worker_index: int, fn: Callable, *args: Any, **kwargs: Any) -> Any:
        """Call a function in the worker of one rank; a reference to its result."""
        return self.workers[worker_index].actor.execute.remote(fn, *args, **kwargs)

    def group_workers_by_node(self) -> dict[str, list[int]]:
        """Ranks by node."""
        found: dict[str, list[int]] = {}
        for rank, worker in enumerate(self.workers):
            found.setdefault(worker.info.node_id, []).append(rank)
        return found

    def shutdown(self) -> None:
        """End all workers at once and give their resources back."""
        for actor in getattr(self, "_actors", ()):
            with contextlib.suppress(RayError, ValueError):  # it is gone already
                narke.kill(actor, no_restart=True)
        self._actors = []
        if self._group is not None and self._spec.within is None:
            remove_placement_group(self._group)
        self._group = None
        self.workers = []


def free_room(spec: GroupSpec, most: int) -> int:
    """How many workers fit what is free now, up to a number."""
    nodes = [node for node in narke.nodes() if node["Alive"]]
    if len(nodes) == 1:
        return _placing.fitting([narke.available_resources()], spec.bundle, most, spec.strategy)
    from narke._private.state import available_resources_per_node

    free = available_resources_per_node()
    return _placing.fitting(list(free.values()), spec.bundle, most, spec.strategy)


def whole_room(spec: GroupSpec, most: int) -> int:
    """How many workers fit the cluster if nothing else runs, up to a number."""
    nodes = [node["Resources"] for node in narke.nodes() if node["Alive"]]
    return _placing.fitting(nodes, spec.bundle, most, spec.strategy)


def _placed(spec: GroupSpec, size: int, wait_s: float) -> PlacementGroup:
    """A placement group that is ready; waits for busy resources as long as it takes."""
    more = {"bundle_label_selector": spec.selectors[:size]} if spec.selectors else {}
    group = placement_group([dict(spec.bundle) for _ in range(size)], strategy=spec.strategy, **more)
    began = time.monotonic()
    try:
        while not group.wait(_LOOK_S):
            if time.monotonic() - began > wait_s and whole_room(spec, size) < size:
                raise NoRoom(_no_room(spec, size))
        return group
    except BaseException:
        remove_placement_group(group)
        raise


def _no_room(spec: GroupSpec, size: int) -> str:
    nodes = [
        {name: amount for name, amount in node["Resources"].items() if name in spec.bundle}
        for node in narke.nodes()
        if node["Alive"]
    ]
    return (
        f"{size} workers with {spec.bundle} each ({spec.strategy}) do not fit this cluster, even when nothing else "
        f"runs: its nodes have {nodes}. Lower ScalingConfig.num_workers or resources_per_worker, or add nodes"
    )
