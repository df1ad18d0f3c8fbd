"""Utilities on top of tasks, actors and objects; each is imported when it is first used."""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

from narke.util.annotations import PublicAPI

# Eager, unlike the rest: the function shares its name with its module (see _Package).
from narke.util.placement_group import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

__all__ = [
    "ActorPool",
    "accelerators",
    "as_completed",
    "collective",
    "connect",
    "deregister_serializer",
    "disable_log_once_globally",
    "disconnect",
    "enable_periodic_logging",
    "get_current_placement_group",
    "get_node_instance_id",
    "get_node_ip_address",
    "get_placement_group",
    "inspect_serializability",
    "iter",
    "list_named_actors",
    "log_once",
    "map_unordered",
    "pdb",
    "placement_group",
    "placement_group_table",
    "ray_debugpy",
    "register_serializer",
    "remove_placement_group",
]

_HOME_OF = {
    "ActorPool": "actor_pool",
    "as_completed": "helpers",
    "connect": "client_connect",
    "deregister_serializer": "serialization",
    "disable_log_once_globally": "debug",
    "disconnect": "client_connect",
    "enable_periodic_logging": "debug",
    "get_node_instance_id": "_node",
    "get_node_ip_address": "_node",
    "inspect_serializability": "check_serialize",
    "log_once": "debug",
    "map_unordered": "helpers",
    "register_serializer": "serialization",
}
_MODULE_OF = {"pdb": "rpdb", "ray_debugpy": "debugpy"}
_SUBMODULES = {
    "accelerators", "actor_group", "actor_pool", "annotations", "check_serialize", "client",
    "client_connect", "collective", "common", "dask", "debug", "debugpy", "helpers", "iter",
    "iter_metrics", "joblib", "metrics", "multiprocessing", "queue", "rpdb", "scheduling_strategies",
    "serialization", "serialization_addons", "spark", "state", "timer", "tpu", "tracing",
}  # fmt: skip


@PublicAPI(stability="beta")
def list_named_actors(all_namespaces: bool = False) -> list[Any]:
    """List the named actors that are alive.

    Args:
        all_namespaces: every namespace's instead of this program's.

    Returns:
        Names, or ``{"name": ..., "namespace": ...}`` of each with `all_namespaces`.
    """
    actors = _named_actors(all_namespaces)
    if all_namespaces:
        return [{"name": actor["name"], "namespace": actor["namespace"]} for actor in actors]
    return [actor["name"] for actor in actors]


def _named_actors(all_namespaces: bool) -> list[dict[str, str]]:
    from narke._private import control

    return control.call("named_actors", all_namespaces=all_namespaces)["actors"]


class _Package(types.ModuleType):
    """This package: the import system must not put the module `placement_group` in the function's place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "placement_group" or not isinstance(value, types.ModuleType):
            super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self.__name__,)  # functions that use it are pickled by value


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    elif name in _MODULE_OF or name in _SUBMODULES:
        value = importlib.import_module(f"{__name__}.{_MODULE_OF.get(name, name)}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
