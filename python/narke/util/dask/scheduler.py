"""The scheduler: each task of a graph becomes a task of the cluster, its dependencies references."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import dask
from dask._task_spec import Alias, DataNode, GraphNode, convert_legacy_graph
from dask.base import DaskMethodsMixin
from dask.core import flatten
from dask.order import order

import narke
from narke.util.dask.callbacks import RayCallbacks, local_ray_callbacks, unpack_ray_callbacks
from narke.util.dask.optimizations import dataframe_optimize

__all__ = [
    "TOP_LEVEL_RESOURCES_ERR_MSG",
    "disable_dask_on_ray",
    "enable_dask_on_ray",
    "patch_dask",
    "ray_dask_get",
    "ray_dask_get_sync",
    "ray_dask_persist",
    "ray_dask_persist_mixin",
]

TOP_LEVEL_RESOURCES_ERR_MSG = (
    "resources= of Dask itself is not used here: give the cluster's resources as "
    'ray_remote_args={"resources": {...}}, in compute() or in dask.annotate()'
)

_dask_persist = dask.persist
_dask_persist_mixin = DaskMethodsMixin.persist
_config: Any = None


def enable_dask_on_ray(shuffle: str | None = "tasks", use_shuffle_optimization: bool | None = True) -> Any:
    """Make the cluster Dask's scheduler, for good or inside of a with-block.

    Args:
        shuffle: how data frames are shuffled: ``"tasks"``, or ``"disk"`` when all nodes share a file system.
        use_shuffle_optimization: cull data frames' graphs before they run.
    """
    global _config
    patch_dask(ray_dask_persist, ray_dask_persist_mixin)
    settings: dict[str, Any] = {"scheduler": ray_dask_get}
    if shuffle is not None:
        settings["dataframe.shuffle.method"] = shuffle
    if use_shuffle_optimization:
        settings["dataframe_optimize"] = dataframe_optimize
    _config = dask.config.set(settings)
    return _config


def disable_dask_on_ray() -> None:
    """Give Dask its own scheduler back."""
    patch_dask(_dask_persist, _dask_persist_mixin)
    dask.config.set({"scheduler": None, "dataframe.shuffle.method": None, "dataframe_optimize": None})


def patch_dask(ray_dask_persist: Any, ray_dask_persist_mixin: Any) -> None:
    """Put other functions in the places of ``dask.persist`` and of the collections' method."""
    dask.persist = ray_dask_persist
    DaskMethodsMixin.persist = ray_dask_persist_mixin  # type: ignore[method-assign]


def ray_dask_persist(*args: Any, **kwargs: Any) -> Any:
    """``dask.persist`` that leaves the results in the cluster, as references inside of the collections."""
    return _dask_persist(*args, **_persist_arguments(kwargs))


def ray_dask_persist_mixin(self: Any, **kwargs: Any) -> Any:
    """`ray_dask_persist` as a method of collections."""
    (result,) = ray_dask_persist(self, traverse=False, **kwargs)
    return result


def _persist_arguments(kwargs: dict[str, Any]) -> dict[str, Any]:
    scheduler = kwargs.get("scheduler") or dask.config.get("scheduler", None)
    ours = scheduler in (ray_dask_get, ray_dask_get_sync)
    return {"ray_persist": True, **kwargs} if ours else kwargs


def ray_dask_get(dsk: Any, keys: Any, **kwargs: Any) -> Any:
    """Run a graph on the cluster.

    Args:
        dsk: the graph.
        keys: keys, or nested lists of keys, whose values are wanted.
        ray_callbacks: callbacks to use instead of those in force.
        ray_persist: return references instead of values.
        ray_remote_args: options of the tasks, such as ``{"num_cpus": 2}``; annotations of the graph override
            them.
        **kwargs: other arguments of Dask's schedulers have no effect.

    Raises:
        ValueError: Dask's own ``resources=`` is used.
    """
    if "resources" in kwargs:
        raise ValueError(TOP_LEVEL_RESOURCES_ERR_MSG)
    with local_ray_callbacks(kwargs.get("ray_callbacks")) as callbacks:
        run = _Run(dsk, unpack_ray_callbacks(callbacks), kwargs.get("ray_remote_args") or {})
        run.submit()
        refs = [run.results[key] for key in flatten(keys if isinstance(keys, list) else [keys])]
        for hook in run.hooks.ray_postsubmit_all_cbs:
            hook(refs, dsk)
        result = _nested(keys, run.results if kwargs.get("ray_persist") else run.fetch(keys))
        for hook in run.hooks.ray_finish_cbs:
            hook(result)
        return result


def ray_dask_get_sync(dsk: Any, keys: Any, **kwargs: Any) -> Any:
    """`ray_dask_get`; tasks are submitted by the calling thread in either case."""
    return ray_dask_get(dsk, keys, **kwargs)


def _nested(keys: Any, results: dict[Any, Any]) -> Any:
    return tuple(_nested(key, results) for key in keys) if isinstance(keys, list) else results[keys]


@dataclass
class _Run:
    """One graph on its way through the cluster: results by key, references for those that run."""

    dsk: Any
    hooks: RayCallbacks
    options: dict[str, Any]
    results: dict[Any, Any] = field(default_factory=dict)

    def submit(self) -> None:
        """Submit every task, dependencies first."""
        annotations = _annotations(self.dsk)
        graph = convert_legacy_graph(dict(_plain_graph(self.dsk)))
        task_of = narke.remote(_run_task)
        priority = order(graph)
        for key in sorted(graph, key=priority.__getitem__):
            self._submit_one(task_of, key, graph[key], annotations.get(key, {}))

    def fetch(self, keys: Any) -> dict[Any, Any]:
        """Return the values of keys, waiting for them."""
        wanted = list(flatten(keys if isinstance(keys, list) else [keys]))
        pending = [key for key in wanted if isinstance(self.results[key], narke.ObjectRef)]
        values = dict(zip(pending, narke.get([self.results[key] for key in pending]), strict=True))
        return {key: values[key] if key in values else self.results[key] for key in wanted}

    def _submit_one(self, task_of: Any, key: Any, node: GraphNode, annotations: dict[str, Any]) -> None:
        if isinstance(node, Alias):
            self.results[key] = self.results[node.target]
            return
        if isinstance(node, DataNode):
            self.results[key] = node.value
            return
        deps = {name: self.results[name] for name in node.dependencies}
        replaced = self._presubmit(node, key, deps)
        if replaced is not None:
            self.results[key] = replaced
            return
        options = {**self.options, **annotations.get("ray_remote_args", {})}
        hooks = (self.hooks.ray_pretask_cbs, self.hooks.ray_posttask_cbs)
        ref = task_of.options(name=f"dask:{key!s}", **options).remote(
            node, key, hooks, list(deps), *deps.values()
        )
        self.results[key] = ref
        for hook in self.hooks.ray_postsubmit_cbs:
            hook(node, key, deps, ref)

    def _presubmit(self, node: GraphNode, key: Any, deps: dict[Any, Any]) -> Any:
        replacement = None
        for hook in self.hooks.ray_presubmit_cbs:
            found = hook(node, key, deps)
            replacement = found if found is not None else replacement
        return replacement


def _plain_graph(dsk: Any) -> Any:
    return dsk.__dask_graph__() if hasattr(dsk, "__dask_graph__") else dsk


def _annotations(dsk: Any) -> dict[Any, dict[str, Any]]:
    """Annotations of the graph's layers by key; those made by ``dask.annotate`` when the graph is flat.

    Raises:
        ValueError: they hold Dask's own resources.
    """
    graph = _plain_graph(dsk)
    found: dict[Any, dict[str, Any]] = {}
    for layer in getattr(graph, "layers", {}).values():
        if layer.annotations:
            found.update(dict.fromkeys(layer.get_output_keys(), layer.annotations))
    for by_kind, values in getattr(dsk, "__dask_annotations__", dict)().items():
        for key, value in values.items():
            found[key] = {**found.get(key, {}), by_kind: value}
    if any("resources" in each for each in found.values()):
        raise ValueError(TOP_LEVEL_RESOURCES_ERR_MSG)
    return found


def _run_task(node: Any, key: Any, hooks: tuple[list[Any], list[Any]], names: list[Any], *values: Any) -> Any:
    """Run a graph's task in a worker, with the values of its dependencies."""
    pretask, posttask = hooks
    states = [hook(key, values) for hook in pretask]
    _fetch_inner(node)
    with _synchronous_inside():
        result = node(dict(zip(names, values, strict=True)))
    states += [None] * (len(posttask) - len(states))
    for hook, state in zip(posttask, states, strict=False):
        hook(key, result, state)
    return result


def _fetch_inner(node: Any) -> None:
    """Put values in the places of references that a persisted collection left inside of a task.

    The task is this worker's own copy, so it is changed in place.
    """
    holders = [each for each in _data_nodes(node) if isinstance(each.value, narke.ObjectRef)]
    for holder, value in zip(holders, narke.get([each.value for each in holders]), strict=True):
        holder.value = value


def _data_nodes(value: Any) -> Iterator[DataNode]:
    """Every literal inside of a task, however deep."""
    if isinstance(value, DataNode):
        yield value
    elif isinstance(value, GraphNode):
        yield from _data_nodes(getattr(value, "args", ()))
        yield from _data_nodes(getattr(value, "kwargs", {}))
    elif isinstance(value, dict):
        yield from _data_nodes(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _data_nodes(item)


@contextlib.contextmanager
def _synchronous_inside() -> Iterator[None]:
    """Collections that a task computes run inside of it."""
    with dask.config.set(scheduler="synchronous"):
        yield
