"""Where the functions of an operator run: tasks, or a pool of actors."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class TaskPoolStrategy:
    """Run as tasks.

    Args:
        size: most tasks at once; None leaves it to the cluster.
    """

    size: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ValueError(f"TaskPoolStrategy: size must be 1 or more, not {self.size}")


class ActorPoolStrategy:
    """Run in actors, each of which builds the class once.

    Args:
        size: a fixed number of actors; excludes the next three.
        min_size, max_size: bounds between which the pool grows with its queue; max_size None is no bound.
        initial_size: actors to begin with, `min_size` by default.
        max_tasks_in_flight_per_actor: calls queued at each actor; two by default.
        max_concurrent_calls_per_actor: calls that an actor runs at the same time, in threads; one by default.
        enable_true_multi_threading: several such calls may be inside the class at once; without it they take turns.
    """

    enable_true_multi_threading: bool

    def __init__(
        self,
        *,
        size: int | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        initial_size: int | None = None,
        max_tasks_in_flight_per_actor: int | None = None,
        max_concurrent_calls_per_actor: int | None = None,
        enable_true_multi_threading: bool | None = None,
    ):
        if size is not None:
            if (min_size, max_size, initial_size) != (None, None, None):
                raise ValueError("ActorPoolStrategy: give size alone, or min_size, max_size and initial_size")
            min_size = max_size = size
        self.min_size = 1 if min_size is None else min_size
        self.max_size = max_size
        self.initial_size = self.min_size if initial_size is None else initial_size
        self.max_tasks_in_flight_per_actor = max_tasks_in_flight_per_actor
        self.max_concurrent_calls_per_actor = max_concurrent_calls_per_actor
        self.enable_true_multi_threading = bool(enable_true_multi_threading)
        self._check()

    def __repr__(self) -> str:
        shown = "min_size max_size initial_size max_tasks_in_flight_per_actor max_concurrent_calls_per_actor"
        fields = [f"{name}={getattr(self, name)}" for name in f"{shown} enable_true_multi_threading".split()]
        return f"ActorPoolStrategy({', '.join(fields)})"

    def _check(self) -> None:
        top = float("inf") if self.max_size is None else self.max_size
        if not 1 <= self.min_size <= self.initial_size <= top:
            raise ValueError(
                "ActorPoolStrategy: 1 <= min_size <= initial_size <= max_size must hold, not "
                f"{self.min_size}, {self.initial_size}, {self.max_size}"
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorPoolStrategy) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(sorted(vars(self).items())))


Compute = TaskPoolStrategy | ActorPoolStrategy


def task_limit(compute: Compute) -> int | None:
    """Most tasks at once; None when the strategy does not say."""
    return compute.size if isinstance(compute, TaskPoolStrategy) else None


def choose(fn: Any, compute: Any, concurrency: Any) -> Compute:
    """The strategy that the arguments `compute` and `concurrency` of an operator mean.

    Args:
        fn: the function or class; a class needs actors.
        compute: a strategy or None.
        concurrency: None, a number, or (min, max) or (min, max, initial) for classes.

    Raises:
        ValueError, TypeError: the arguments exclude each other, or do not fit `fn`.
    """
    is_class = isinstance(fn, type)
    if compute is not None and concurrency is not None:
        raise ValueError("give either compute or concurrency")
    if compute is not None:
        return _checked(compute, is_class)
    if is_class:
        return _pool_of(concurrency)
    if concurrency is not None and not isinstance(concurrency, int):
        raise ValueError(
            f"concurrency of a function must be a number, not {concurrency!r}; ranges are for classes"
        )
    return TaskPoolStrategy(concurrency)


def _checked(compute: Any, is_class: bool) -> Compute:
    if not isinstance(compute, (TaskPoolStrategy, ActorPoolStrategy)):
        raise TypeError(f"compute must be TaskPoolStrategy or ActorPoolStrategy, not {compute!r}")
    if is_class and isinstance(compute, TaskPoolStrategy):
        raise ValueError("a class keeps state and needs actors: use ActorPoolStrategy, not TaskPoolStrategy")
    return compute


def _pool_of(concurrency: Any) -> ActorPoolStrategy:
    if concurrency is None:
        return ActorPoolStrategy()
    if isinstance(concurrency, int):
        return ActorPoolStrategy(size=concurrency)
    if isinstance(concurrency, tuple) and len(concurrency) in (2, 3):
        least, most, *first = concurrency
        return ActorPoolStrategy(min_size=least, max_size=most, initial_size=first[0] if first else None)
    raise ValueError(f"concurrency must be a number, (min, max) or (min, max, initial), not {concurrency!r}")
