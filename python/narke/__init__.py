"""Narke: distributed tasks, actors and objects with Ray's programming model.

``import narke as ray`` and go on as with Ray. Importing this package loads nothing but this file: every public name
is found in its module when it is first used, and the engine's extension is loaded by the first call that needs it.
"""

from __future__ import annotations

import importlib

from narke._version import __version__

TYPE_CHECKING = False  # typing is not cheap to import; checkers take this name for its namesake
if TYPE_CHECKING:
    from typing import Any

    from narke._init import init, is_initialized, shutdown
    from narke.actor import method

__all__ = [
    "LOCAL_MODE",
    "SCRIPT_MODE",
    "WORKER_MODE",
    "ActorClassID",
    "ActorID",
    "ClientBuilder",
    "DynamicObjectRefGenerator",
    "FunctionID",
    "JobID",
    "Language",
    "LoggingConfig",
    "NodeID",
    "ObjectID",
    "ObjectRef",
    "ObjectRefGenerator",
    "PlacementGroupID",
    "TaskID",
    "UniqueID",
    "WorkerID",
    "__version__",
    "actor",
    "available_resources",
    "cancel",
    "client",
    "cluster_resources",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "is_initialized",
    "java_actor_class",
    "java_function",
    "kill",
    "method",
    "nodes",
    "put",
    "remote",
    "shutdown",
    "timeline",
    "wait",
]

SCRIPT_MODE = 0
WORKER_MODE = 1
LOCAL_MODE = 2
AUTO_INIT_APIS = frozenset(
    {"cancel", "get", "get_actor", "get_gpu_ids", "kill", "put", "wait", "get_runtime_context"}
)
NON_AUTO_INIT_APIS = frozenset(
    {
        "ClientBuilder",
        "LOCAL_MODE",
        "Language",
        "SCRIPT_MODE",
        "WORKER_MODE",
        "__version__",
        "_config",
        "autoscaler",
        "available_resources",
        "client",
        "cluster_resources",
        "cpp_function",
        "init",
        "is_initialized",
        "java_actor_class",
        "java_function",
        "job_config",
        "method",
        "nodes",
        "remote",
        "shutdown",
        "show_in_dashboard",
        "timeline",
        "util",
    }
)

_HOMES = {
    "ActorClassID": "ids",
    "ActorID": "ids",
    "ClientBuilder": "client_builder",
    "DynamicObjectRefGenerator": "_private.generators",
    "FunctionID": "ids",
    "JobID": "ids",
    "Language": "cross_language",
    "LoggingConfig": "_private.logging_config",
    "NodeID": "ids",
    "ObjectRefGenerator": "_private.generators",
    "PlacementGroupID": "ids",
    "TaskID": "ids",
    "UniqueID": "ids",
    "WorkerID": "ids",
    "_config": "_private.settings",
    "available_resources": "_private.state",
    "cancel": "_private.control",
    "client": "client_builder",
    "cluster_resources": "_private.state",
    "get_actor": "_private.control",
    "get_gpu_ids": "runtime_context",
    "get_runtime_context": "runtime_context",
    "init": "_init",
    "is_initialized": "_init",
    "java_actor_class": "cross_language",
    "java_function": "cross_language",
    "kill": "_private.control",
    "method": "actor",
    "nodes": "_private.state",
    "shutdown": "_init",
    "timeline": "_private.state",
}
_NATIVE = {"ObjectRef": "ObjectRef", "ObjectID": "ObjectRef"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"narke.{_HOMES[name]}"), name)
    elif name in _NATIVE:
        value = getattr(importlib.import_module("narke._native"), _NATIVE[name])
    elif name == "logger":
        import logging

        value = logging.getLogger("ray")  # programs set levels and handlers by this name
    elif name.startswith("__"):
        raise AttributeError(f"module 'narke' has no attribute {name!r}")
    else:
        return _submodule(name)
    globals()[name] = value
    return value


def _submodule(name: str) -> Any:
    try:
        return importlib.import_module(f"narke.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"narke.{name}":
            raise
    from narke import _compat

    found = _compat.stand_in(name) or _compat.stand_in(f"_private.{name}")
    if found is None:
        raise AttributeError(f"module 'narke' has no attribute {name!r}")
    return importlib.import_module(found)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def remote(*args: Any, **kwargs: Any) -> Any:
    """Make a function run as tasks, or a class's instances live as actors.

    Bare (``@remote``) or with options (``@remote(num_cpus=2)``).

    Args:
        num_cpus, num_gpus, memory, resources, accelerator_type: what a task holds while it runs, an actor while it
            lives. A task holds one CPU by default; an actor needs one to be placed and then holds none.
        num_returns: (tasks) number of ObjectRefs, or ``"streaming"``, the default of generators.
        max_retries: (tasks) how often to run again when the worker dies; 3 by default, -1 for ever.
        retry_exceptions: (tasks) whether, or on which exception types, to run again when the function raises.
        max_calls: (tasks) end the worker after so many calls of this function.
        name, namespace, lifetime, get_if_exists: (actors) find it by `get_actor`; ``"detached"`` outlives its creator.
        max_restarts, max_task_retries: (actors) how often to start again, and to repeat calls that were cut off.
        max_concurrency, concurrency_groups, max_pending_calls, allow_out_of_order_execution: (actors) how calls run.
        runtime_env, scheduling_strategy, label_selector, placement_group: where and in what environment.

    Returns:
        a `narke.remote_function.RemoteFunction` or a `narke.actor.ActorClass`; a decorator when given options.

    Raises:
        TypeError, ValueError: an option is unknown or its value is not possible.
    """
    from narke._private import decorating

    return decorating.remote(args, kwargs)


def get(object_refs: Any, *, timeout: float | None = None, _use_object_store: bool = False) -> Any:
    """The values of references, waiting for them.

    Args:
        object_refs: an ObjectRef or a list of them.
        timeout: seconds to wait at most; 0 returns at once; None waits for as long as it takes.

    Returns:
        the value, or a list of values in the same order. Arrays may alias the object store and are read-only.

    Raises:
        narke.exceptions.GetTimeoutError: a value is not there in time.
        narke.exceptions.RayTaskError: the task raised; the error is an instance of the original class too.
        narke.exceptions.RayError: the value is lost, its actor dead, or the task cancelled.
        TypeError, ValueError: something else than references was given.
    """
    from narke._private import session

    return session.native().get(object_refs, timeout=timeout, _use_object_store=_use_object_store)


def put(value: Any, *, _owner: Any = None, _tensor_transport: str | None = None) -> Any:
    """Store a value once and return a reference to it.

    Args:
        value: anything that pickles, except an ObjectRef.
        _owner: actor that shall own the object instead of this program.
        _tensor_transport: how tensors inside travel; only the object store is available.

    Returns:
        an ObjectRef.

    Raises:
        TypeError: the value is a reference, or does not pickle; the text names the culprit.
        narke.exceptions.ObjectStoreFullError: there is no room for it.
    """
    from narke._private import session

    return session.native().put(value, _owner=_owner, _tensor_transport=_tensor_transport)


def wait(
    ray_waitables: Any, *, num_returns: int = 1, timeout: float | None = None, fetch_local: bool = True
) -> tuple[list[Any], list[Any]]:
    """Wait until some of several references are ready.

    Args:
        ray_waitables: a list of different ObjectRefs and ObjectRefGenerators.
        num_returns: how many to wait for.
        timeout: seconds to wait at most; None waits for as long as it takes.
        fetch_local: count a value only once it is on this machine.

    Returns:
        (ready, not ready), each in the given order; at most `num_returns` are in the first.

    Raises:
        TypeError, ValueError: not such a list, or `num_returns` does not fit it.
    """
    from narke._private import session

    return session.native().wait(
        ray_waitables, num_returns=num_returns, timeout=timeout, fetch_local=fetch_local
    )


# While connected, the names above are the extension's own functions; these bring the stand-ins back.
_get, _put, _wait = get, put, wait
