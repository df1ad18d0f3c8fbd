"""Names for trainables, environments and the like; a name given here can stand for the thing.

Registered values live in the process that registered them. Trainables travel to workers with the trial; other values
are put into the cluster's key-value table, so that workers find them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from narke.tune.error import TuneError

if TYPE_CHECKING:
    from narke.tune.trainable.trainable import Trainable

__all__ = [
    "ENV_CREATOR",
    "KNOWN_CATEGORIES",
    "RLLIB_ACTION_DIST",
    "RLLIB_CONNECTOR",
    "RLLIB_INPUT",
    "RLLIB_MODEL",
    "RLLIB_PREPROCESSOR",
    "TEST",
    "TRAINABLE_CLASS",
    "get_trainable_cls",
    "is_function_trainable",
    "register_env",
    "register_input",
    "register_trainable",
    "registry_contains_input",
    "registry_get_input",
    "validate_trainable",
]

TRAINABLE_CLASS = "trainable_class"
ENV_CREATOR = "env_creator"
RLLIB_MODEL = "rllib_model"
RLLIB_PREPROCESSOR = "rllib_preprocessor"
RLLIB_ACTION_DIST = "rllib_action_dist"
RLLIB_INPUT = "rllib_input"
RLLIB_CONNECTOR = "rllib_connector"
TEST = "__test__"
KNOWN_CATEGORIES = [
    TRAINABLE_CLASS,
    ENV_CREATOR,
    RLLIB_MODEL,
    RLLIB_PREPROCESSOR,
    RLLIB_ACTION_DIST,
    RLLIB_INPUT,
    RLLIB_CONNECTOR,
    TEST,
]
_NAMESPACE = "tune_registry"


class _Registry:
    """Values by category and name: here, and published to the cluster when there is one."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], Any] = {}
        self._published: dict[tuple[str, str], str] = {}

    def register(self, category: str, name: str, value: Any) -> None:
        """Give a value a name.

        Raises:
            ValueError: an unknown category.
        """
        if category not in KNOWN_CATEGORIES:
            raise ValueError(f"unknown category {category!r}; there are {', '.join(KNOWN_CATEGORIES)}")
        self._values[category, name] = value
        self._published.pop((category, name), None)
        self.flush_values()

    register_global = register

    def unregister(self, category: str, name: str) -> None:
        """Forget a name here."""
        self._values.pop((category, name), None)

    unregister_all_in = unregister

    def contains(self, category: str, name: str) -> bool:
        """Whether there is such a name, here or in the cluster."""
        return (category, name) in self._values or self._from_cluster(category, name)[0]

    def get(self, category: str, name: str) -> Any:
        """Return a value.

        Raises:
            ValueError: there is none.
        """
        if (category, name) in self._values:
            return self._values[category, name]
        found, value = self._from_cluster(category, name)
        if not found:
            known = sorted(each for kind, each in self._values if kind == category)
            raise ValueError(f"nothing is registered as {name!r} in {category}; there are {known}")
        return value

    def flush_values(self) -> None:
        """Publish to the cluster what is not there yet."""
        import narke
        from narke import cloudpickle
        from narke._private import kv

        if not narke.is_initialized():
            return
        session = narke.get_runtime_context().get_session_name()
        for (category, name), value in self._values.items():
            if self._published.get((category, name)) != session and category != TRAINABLE_CLASS:
                kv.put(f"{category}:{name}", cloudpickle.dumps(value), namespace=_NAMESPACE)
                self._published[category, name] = session

    def _from_cluster(self, category: str, name: str) -> tuple[bool, Any]:
        import narke
        from narke import cloudpickle
        from narke._private import kv

        if category == TRAINABLE_CLASS or not narke.is_initialized():
            return False, None
        data = kv.get(f"{category}:{name}", namespace=_NAMESPACE)
        return (False, None) if data is None else (True, cloudpickle.loads(data))


_global_registry = _Registry()


def register_trainable(name: str, trainable: Callable | type[Trainable], warn: bool = True) -> None:
    """Give a trainable a name, by which `tune.run` and `Tuner` find it.

    Args:
        name: the name.
        trainable: a function of one argument, or a class derived from `Trainable`.
        warn: kept for programs that pass it.

    Raises:
        TypeError: it is neither.
    """
    from narke.tune.trainable.function_trainable import wrap_function
    from narke.tune.trainable.trainable import Trainable

    if isinstance(trainable, type):
        if not issubclass(trainable, Trainable):
            raise TypeError(
                f"a trainable class derives from narke.tune.Trainable; {trainable.__name__} does not"
            )
        wrapped = trainable
    elif callable(trainable):
        wrapped = wrap_function(trainable)
    else:
        raise TypeError(f"a trainable is a function or a class derived from Trainable, not {trainable!r}")
    _global_registry.register(TRAINABLE_CLASS, name, wrapped)


def get_trainable_cls(trainable_name: str) -> type[Trainable]:
    """Return the class of a registered trainable; a function is wrapped in one.

    Raises:
        TuneError: nothing of this name is registered, and RLlib has no such algorithm.
    """
    if not _global_registry.contains(TRAINABLE_CLASS, trainable_name):
        _register_algorithm(trainable_name)
    return _global_registry.get(TRAINABLE_CLASS, trainable_name)


def validate_trainable(trainable_name: str) -> None:
    """Refuse a name that nothing is registered under.

    Raises:
        TuneError: nothing is.
    """
    get_trainable_cls(trainable_name)


def _register_algorithm(name: str) -> None:
    """Find RLlib's algorithm of this name."""
    try:
        from narke.rllib.algorithms.registry import get_algorithm_class
    except ImportError:
        raise TuneError(f"Unknown trainable: {name}; register it with tune.register_trainable") from None
    try:
        found = get_algorithm_class(name)
    except Exception as error:
        raise TuneError(f"Unknown trainable: {name}; register it with tune.register_trainable") from error
    _global_registry.register(TRAINABLE_CLASS, name, found)


def is_function_trainable(trainable: Any) -> bool:
    """Whether a trainable is a function, and not a class or a name."""
    return inspect.isfunction(trainable) or isinstance(trainable, partial) or inspect.ismethod(trainable)


def register_env(name: str, env_creator: Callable) -> None:
    """Give RLlib an environment.

    Args:
        name: by which configurations name it.
        env_creator: makes it from an `EnvContext`.

    Raises:
        TypeError: it cannot be called.
    """
    _register_creator(ENV_CREATOR, "environment", name, env_creator)


def register_input(name: str, input_creator: Callable) -> None:
    """Give RLlib a reader of experiences.

    Args:
        name: by which configurations name it.
        input_creator: makes it from an `IOContext`.

    Raises:
        TypeError: it cannot be called.
    """
    _register_creator(RLLIB_INPUT, "input", name, input_creator)


def _register_creator(kind: str, what: str, name: str, creator: Callable) -> None:
    if not callable(creator):
        raise TypeError(f"the creator of the {what} {name!r} must be callable, not {creator!r}")
    _global_registry.register(kind, name, creator)


def registry_contains_input(name: str) -> bool:
    """Whether an input is registered."""
    return _global_registry.contains(RLLIB_INPUT, name)


def registry_get_input(name: str) -> Callable:
    """Return a registered input's creator."""
    return _global_registry.get(RLLIB_INPUT, name)
