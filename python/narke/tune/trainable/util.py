"""`with_parameters` and `with_resources`."""

from __future__ import annotations

import copy
import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

from narke.tune.trainable.trainable import Trainable

__all__ = ["with_parameters", "with_resources"]


class _Parameters:
    """Large values, put into the object store once, when the first trial is sent out."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values: dict[str, Any] | None = values
        self._references: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        import narke

        if self._values is not None and narke.is_initialized():
            session = narke.get_runtime_context().get_session_name()
            if self._references.get("session") != session:
                self._references = {
                    "session": session,
                    "refs": {
                        name: value if isinstance(value, narke.ObjectRef) else narke.put(value)
                        for name, value in self._values.items()
                    },
                }
            return {"_values": None, "_references": self._references}
        return {"_values": self._values, "_references": {}}

    def get(self) -> dict[str, Any]:
        """The values by name."""
        if self._values is None:
            import narke

            references = self._references["refs"]
            self._values = dict(zip(references, narke.get(list(references.values())), strict=True))
        return self._values


def with_parameters(trainable: Callable | type[Trainable], **kwargs: Any) -> Any:
    """Hand large values to a trainable through the object store.

    Args:
        trainable: a function that takes them as keywords, or a class whose `setup` does.
        kwargs: the values, of any size, or references to them.

    Returns:
        a trainable.

    Raises:
        ValueError: it is neither.
    """
    if not callable(trainable) or (inspect.isclass(trainable) and not issubclass(trainable, Trainable)):
        raise ValueError(
            f"with_parameters works on functions and classes derived from Trainable, not on {trainable!r}"
        )
    parameters = _Parameters(kwargs)
    if inspect.isclass(trainable):
        base: Any = trainable

        class _Inner(base):
            def setup(self, config: dict[str, Any]) -> None:
                base.setup(self, config, **parameters.get())

        _Inner.__name__ = _Inner.__qualname__ = base.__name__
        return _Inner
    _check_keywords(trainable, kwargs)
    folder = "checkpoint_dir" in inspect.signature(trainable).parameters

    if folder:

        def inner(config: dict[str, Any], checkpoint_dir: str | None = None) -> Any:
            return trainable(config, checkpoint_dir=checkpoint_dir, **parameters.get())
    else:

        def inner(config: dict[str, Any]) -> Any:  # type: ignore[misc]
            return trainable(config, **parameters.get())

    inner.__name__ = getattr(trainable, "__name__", "func")
    inner._attached_param_names = tuple(kwargs)  # type: ignore[attr-defined]
    for name in ("_resources", "__mixins__"):
        if hasattr(trainable, name):
            setattr(inner, name, getattr(trainable, name))
    return inner


def _check_keywords(function: Callable, kwargs: dict[str, Any]) -> None:
    parameters = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    unknown = sorted(set(kwargs) - set(parameters))
    if unknown:
        raise TypeError(
            f"{getattr(function, '__name__', function)} has no parameters {unknown}; it has {list(parameters)}"
        )


def with_resources(trainable: Any, resources: Any) -> Any:
    """Give a trainable resources.

    Args:
        trainable: function, class derived from `Trainable`, or registered name.
        resources: a dict such as ``{"cpu": 2, "gpu": 0.5}``, a `PlacementGroupFactory`, a `ScalingConfig`, or a
            function from a configuration to one of these.

    Returns:
        a copy of the trainable.

    Raises:
        ValueError: resources of another kind.
    """
    from narke.tune.registry import get_trainable_cls

    request = _as_request(resources)
    if isinstance(trainable, str):
        trainable = get_trainable_cls(trainable)
    if not inspect.isclass(trainable):
        if isinstance(trainable, types.MethodType):
            bound = trainable

            def wrapped(config: dict[str, Any]) -> Any:
                return bound(config)

            wrapped.__name__ = bound.__name__
            trainable = wrapped
        chosen = copy.copy(trainable) if not inspect.isfunction(trainable) else _copied(trainable)
        chosen._resources = request
        return chosen
    base: Any = trainable

    class ResourceTrainable(base):
        @classmethod
        def default_resource_request(cls, config: dict[str, Any]) -> Any:
            """What was given."""
            return request(config) if not hasattr(request, "bundles") else request

    ResourceTrainable.__name__ = ResourceTrainable.__qualname__ = base.__name__
    return ResourceTrainable


def _copied(function: Callable) -> Any:
    """The same function as another object, so that attributes of one are not the other's."""

    @functools.wraps(function)
    def same(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return same


def _as_request(resources: Any) -> Any:
    from narke.air.config import ScalingConfig
    from narke.tune.execution.placement_groups import resource_dict_to_pg_factory

    if hasattr(resources, "bundles"):
        return resources
    if isinstance(resources, ScalingConfig):
        return resources.as_placement_group_factory()
    if isinstance(resources, dict):
        return resource_dict_to_pg_factory(resources)
    if callable(resources):
        return lambda config: _as_request(resources(config))
    raise ValueError(
        f"resources are a dict, a PlacementGroupFactory, a ScalingConfig or a function to one, not {resources!r}"
    )


def __getattr__(name: str) -> Any:
    if name in ("PlacementGroupUtil", "TrainableUtil"):
        from narke.tune.trainable import _legacy

        return getattr(_legacy, name)
    raise AttributeError(f"narke.tune.trainable.util has no {name!r}")
