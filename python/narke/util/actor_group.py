"""A set of equal actors whose methods are called on all of them at once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import narke
from narke.util.annotations import Deprecated

__all__ = ["ActorConfig", "ActorGroup", "ActorGroupMethod", "ActorWrapper"]


@dataclass
class ActorWrapper:
    """An actor of a group, with what it told about itself."""

    actor: Any
    metadata: Any


@dataclass
class ActorConfig:
    """How the actors of a group are created."""

    num_cpus: float
    num_gpus: float
    resources: dict[str, float] | None
    init_args: tuple[Any, ...]
    init_kwargs: dict[str, Any]


class ActorGroupMethod:
    """A method of all actors of a group.

    Args:
        actor_group: the group.
        method_name: the method's name in the actors' class.
    """

    def __init__(self, actor_group: Any, method_name: str) -> None:
        self.actor_group = actor_group
        self._method_name = method_name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raise TypeError: methods of actors are called with ``.remote()``."""
        raise TypeError(
            "methods of an actor group cannot be called directly; write "
            f"group.{self._method_name}.remote(...)"
        )

    def remote(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Call the method on every actor; returns one reference per actor, in order."""
        return [
            getattr(actor, self._method_name).remote(*args, **kwargs) for actor in self.actor_group._handles()
        ]


@Deprecated(
    message="Use narke.util.multiprocessing for stateless work, Dataset.map_batches for stateful.",
    warning=True,
)
class ActorGroup:
    """Creates equal actors and calls their methods together: ``group.method.remote()`` gives one reference
    each.

    Args:
        actor_cls: the actors' class.
        num_actors: how many; at least 1.
        num_cpus_per_actor: CPUs of each.
        num_gpus_per_actor: GPUs of each.
        resources_per_actor: other resources of each.
        init_args: positional arguments of the class.
        init_kwargs: keyword arguments of the class.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        actor_cls: type,
        num_actors: int = 1,
        num_cpus_per_actor: float = 1,
        num_gpus_per_actor: float = 0,
        resources_per_actor: dict[str, float] | None = None,
        init_args: tuple[Any, ...] | None = None,
        init_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if num_actors <= 0:
            raise ValueError(f"num_actors must be at least 1, got {num_actors}")
        if num_cpus_per_actor < 0 or num_gpus_per_actor < 0:
            raise ValueError(
                "The number of CPUs and GPUs per actor must not be negative, "
                f"got num_cpus_per_actor={num_cpus_per_actor} and num_gpus_per_actor={num_gpus_per_actor}"
            )
        self.actors: list[ActorWrapper] = []
        self.num_actors = num_actors
        self.actor_config = ActorConfig(
            num_cpus_per_actor,
            num_gpus_per_actor,
            resources_per_actor,
            tuple(init_args or ()),
            init_kwargs or {},
        )
        self._remote_cls = narke.remote(_with_metadata(actor_cls)).options(
            num_cpus=num_cpus_per_actor, num_gpus=num_gpus_per_actor, resources=resources_per_actor
        )
        self.start()

    def __getattr__(self, item: str) -> ActorGroupMethod:
        if item.startswith("_") or item in ("actors", "num_actors", "actor_config"):
            raise AttributeError(f"an actor group has no attribute {item!r}")
        return ActorGroupMethod(self, item)

    def __len__(self) -> int:
        return len(self.actors)

    def __getitem__(self, item: int) -> ActorWrapper:
        return self.actors[item]

    @property
    def actor_metadata(self) -> list[Any]:
        """What ``get_actor_metadata`` of each actor returned."""
        return [wrapper.metadata for wrapper in self.actors]

    def start(self) -> None:
        """Create the actors.

        Raises:
            RuntimeError: the group has its actors already.
        """
        if self.actors:
            raise RuntimeError("The actors have already been started; call shutdown() before start()")
        self.add_actors(self.num_actors)

    def shutdown(self, patience_s: float = 5) -> None:
        """End the actors.

        Args:
            patience_s: seconds that calls made earlier have to finish; 0 or less kills at once.
        """
        handles = self._handles()
        if patience_s > 0 and handles:
            ends = [handle.__ray_terminate__.remote() for handle in handles]
            narke.wait(ends, num_returns=len(ends), timeout=patience_s)
        for handle in handles:
            narke.kill(handle)
        self.actors = []

    def remove_actors(self, actor_indexes: Iterable[int]) -> None:
        """Drop actors from the group by index; each ends when nobody else holds a handle."""
        dropped = set(actor_indexes)
        self.actors = [wrapper for index, wrapper in enumerate(self.actors) if index not in dropped]

    def add_actors(self, num_actors: int) -> None:
        """Create more actors with the group's arguments and wait until they are there."""
        config = self.actor_config
        handles = [
            self._remote_cls.remote(*config.init_args, **config.init_kwargs) for _ in range(num_actors)
        ]
        metadata = narke.get([handle.get_actor_metadata.remote() for handle in handles])
        self.actors += [ActorWrapper(*pair) for pair in zip(handles, metadata, strict=False)]

    def _handles(self) -> list[Any]:
        return [wrapper.actor for wrapper in self.actors]


def _with_metadata(actor_cls: type) -> type:
    """The class itself, or a subclass of it that can tell where its actor runs."""
    if hasattr(actor_cls, "get_actor_metadata"):
        return actor_cls

    def get_actor_metadata(self: Any) -> dict[str, Any]:
        context = narke.get_runtime_context()
        return {"node_id": context.get_node_id(), "pid": os.getpid()}

    return type(actor_cls.__name__, (actor_cls,), {"get_actor_metadata": get_actor_metadata})
