"""Hooks around the submission and the execution of a graph's tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from dask.callbacks import Callback

from narke.experimental.tqdm_ray import tqdm

__all__ = [
    "CBS",
    "CBS_DONT_DROP",
    "CB_FIELDS",
    "ProgressBarCallback",
    "RayCallback",
    "RayCallbacks",
    "RayDaskCallback",
    "add_ray_callbacks",
    "local_ray_callbacks",
    "normalize_ray_callback",
    "unpack_ray_callbacks",
]

CBS = ("ray_presubmit", "ray_postsubmit", "ray_pretask", "ray_posttask", "ray_postsubmit_all", "ray_finish")
CB_FIELDS = tuple(f"_{name}" for name in CBS)
CBS_DONT_DROP = {"ray_pretask", "ray_posttask"}


class RayCallback(NamedTuple):
    """The hooks of one callback, None for those it has not."""

    ray_presubmit: Any
    ray_postsubmit: Any
    ray_pretask: Any
    ray_posttask: Any
    ray_postsubmit_all: Any
    ray_finish: Any


class RayCallbacks(NamedTuple):
    """The hooks of several callbacks, a list for each kind."""

    ray_presubmit_cbs: list[Any]
    ray_postsubmit_cbs: list[Any]
    ray_pretask_cbs: list[Any]
    ray_posttask_cbs: list[Any]
    ray_postsubmit_all_cbs: list[Any]
    ray_finish_cbs: list[Any]


class RayDaskCallback(Callback):
    """Dask's `Callback` with hooks for tasks of the cluster; extend it, or pass the hooks.

    Args:
        **kwargs: Dask's own hooks, and ``ray_presubmit(task, key, deps)`` (what it returns replaces the
            task's result), ``ray_postsubmit(task, key, deps, object_ref)``, ``ray_pretask(key, object_refs)``
            and ``ray_posttask(key, result, pre_state)`` (both in the worker),
            ``ray_postsubmit_all(object_refs, dsk)``, ``ray_finish(result)``.
    """

    ray_active: set[RayCallback] = set()

    def __init__(self, **kwargs: Any) -> None:
        for name in CBS:
            hook = kwargs.pop(name, None)
            if hook is not None:
                setattr(self, f"_{name}", hook)
        super().__init__(**kwargs)

    @property
    def _ray_callback(self) -> RayCallback:
        return RayCallback(*(getattr(self, field, None) for field in CB_FIELDS))

    def __enter__(self) -> RayDaskCallback:
        self._ray_cm = add_ray_callbacks(self)
        self._ray_cm.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *args: Any) -> None:
        super().__exit__(*args)
        self._ray_cm.__exit__(*args)

    def register(self) -> None:
        """Use the hooks for every graph from now on."""
        type(self).ray_active.add(self._ray_callback)
        super().register()

    def unregister(self) -> None:
        """Use the hooks no longer."""
        type(self).ray_active.discard(self._ray_callback)
        super().unregister()


class add_ray_callbacks:
    """Use callbacks inside of a with-block.

    Args:
        *callbacks: `RayDaskCallback` or `RayCallback` objects.
    """

    def __init__(self, *callbacks: Any) -> None:
        self.callbacks = [normalize_ray_callback(callback) for callback in callbacks]

    def __enter__(self) -> add_ray_callbacks:
        RayDaskCallback.ray_active.update(self.callbacks)
        return self

    def __exit__(self, *args: Any) -> None:
        for callback in self.callbacks:
            RayDaskCallback.ray_active.discard(callback)


def normalize_ray_callback(cb: Any) -> RayCallback:
    """Return a callback's hooks.

    Raises:
        TypeError: this is no callback.
    """
    if isinstance(cb, RayDaskCallback):
        return cb._ray_callback
    if isinstance(cb, RayCallback):
        return cb
    raise TypeError(f"callbacks must be RayDaskCallback or RayCallback objects, got {type(cb).__name__}")


def unpack_ray_callbacks(cbs: Iterable[Any]) -> RayCallbacks:
    """Return the hooks of callbacks by kind."""
    hooks = [normalize_ray_callback(cb) for cb in cbs]
    return (
        RayCallbacks(*([hook for hook in column if hook] for column in zip(*hooks, strict=False)))
        if hooks
        else _no_hooks()
    )


def _no_hooks() -> RayCallbacks:
    return RayCallbacks([], [], [], [], [], [])


@contextlib.contextmanager
def local_ray_callbacks(callbacks: Iterable[Any] | None = None) -> Iterator[Iterable[Any]]:
    """Give the outermost scheduler the callbacks in force.

    Schedulers nested in it see none of the global ones.
    """
    inherited = callbacks is None
    callbacks, before = callbacks or (), set(RayDaskCallback.ray_active)
    if inherited:
        callbacks = before
        RayDaskCallback.ray_active = set()
    try:
        yield callbacks
    finally:
        if inherited:
            RayDaskCallback.ray_active = before


class ProgressBarCallback(RayDaskCallback):
    """Shows how many of a graph's tasks were submitted and have finished."""

    def __init__(self) -> None:
        super().__init__()
        self.submitted = 0
        self.scheduled: list[Any] = []
        self.finished = 0
        self.deps: dict[Any, Any] = {}
        self.submission_queue: list[Any] = []
        self.pb: tqdm | None = None

    def _ray_postsubmit(self, task: Any, key: Any, deps: dict[Any, Any], object_ref: Any) -> None:
        self.submitted += 1
        self.deps[key] = deps
        self.scheduled.append(object_ref)

    def _ray_postsubmit_all(self, object_refs: Any, dsk: Any) -> None:
        import narke

        self.pb = tqdm(total=self.submitted, desc="dask")
        self.submission_queue = list(self.scheduled)
        while self.submission_queue:
            done, self.submission_queue = narke.wait(self.submission_queue, num_returns=1)
            self.finished += len(done)
            self.pb.update(len(done))

    def _ray_finish(self, result: Any) -> None:
        if self.pb is not None:
            self.pb.close()
