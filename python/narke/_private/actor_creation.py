"""Turns an actor class and its options into a running actor."""

from __future__ import annotations

from typing import Any

from narke._private import options as _options
from narke._private import session, strategies, tracing
from narke._private.naming import check_namespace
from narke.actor import ActorHandle, ActorInfo

__all__ = ["create"]

_ASYNC_CONCURRENCY = 1000


def create(
    metadata: Any, options: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> ActorHandle[Any]:
    """Ask for an actor.

    Args:
        metadata: the class's `_ActorClassMetadata`.
        options: checked options.
        args, kwargs: arguments of ``__init__``.

    Returns:
        its handle; of the existing actor with ``get_if_exists``.

    Raises:
        TypeError: the arguments do not fit.
        ValueError: the name or the namespace is empty.
        narke.exceptions.ActorAlreadyExistsError: the name is taken.
    """
    if metadata.init_signature is not None:
        metadata.init_signature.check(args, kwargs)
    here = session.connected()
    info = _info(metadata, options)
    spec = _spec(metadata, options, info, here)
    with tracing.traced_kwargs(f"{metadata.class_name}.__init__", kwargs) as kwargs:
        ref = _native_create(spec, metadata.export()[1], args, kwargs)
    return ActorHandle(ref, info)


def _native_create(
    spec: dict[str, Any], pickled: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    from narke import _native

    return _native.create_actor(spec, pickled, args, kwargs)


def _info(metadata: Any, options: dict[str, Any]) -> ActorInfo:
    defaults = {
        "max_task_retries": options.get("max_task_retries") or 0,
        "max_pending_calls": _or(options.get("max_pending_calls"), -1),
        "backpressure": options.get("_actor_generator_backpressure_num_objects"),
    }
    return ActorInfo(metadata.class_name, metadata.methods, defaults)


def _spec(metadata: Any, options: dict[str, Any], info: ActorInfo, here: session.Session) -> dict[str, Any]:
    from narke.remote_function import inherited_env

    placement_resources, running_resources = _options.actor_resources(options)
    groups = _groups(metadata, options)
    return {
        "function": metadata.export()[0],
        "class_name": metadata.class_name,
        **_naming(options, here),
        "max_restarts": options.get("max_restarts") or 0,
        "max_task_retries": options.get("max_task_retries") or 0,
        "max_concurrency": options.get("max_concurrency") or (_ASYNC_CONCURRENCY if metadata.is_async else 1),
        "is_async": metadata.is_async,
        "groups": groups,
        "out_of_order": _out_of_order(metadata, options),
        "max_pending_calls": _or(options.get("max_pending_calls"), -1),
        "placement_resources": placement_resources,
        "running_resources": running_resources,
        "runtime_env": inherited_env(options.get("runtime_env"), options.get("_preload")),
        "methods": info.pickled(),
        **strategies.placement(options, placement_resources),
    }


def _naming(options: dict[str, Any], here: session.Session) -> dict[str, Any]:
    name, namespace = options.get("name"), options.get("namespace")
    if name is not None and not name:
        raise ValueError("Actor name cannot be an empty string.")
    check_namespace(namespace)
    lifetime = options.get("lifetime") or getattr(here.job_config, "_default_actor_lifetime", "non_detached")
    return {
        "name": name or "",
        "namespace_": here.namespace if namespace is None else namespace,
        "detached": lifetime == "detached",
        "get_if_exists": bool(options.get("get_if_exists")),
    }


def _groups(metadata: Any, options: dict[str, Any]) -> list[dict[str, Any]]:
    limits = _group_limits(options.get("concurrency_groups"))
    members: dict[str, list[str]] = {name: [] for name in limits}
    for name, info in metadata.methods.items():
        group = info.options.get("concurrency_group")
        if not group:
            continue
        if group not in members:
            raise ValueError(
                f"Method {name} of {metadata.class_name} names the concurrency group {group!r}, which the class does "
                f"not declare. Declared are {sorted(members)}; add it to concurrency_groups of @remote."
            )
        members[group].append(name)
    return [{"name": name, "limit": limit, "methods": members[name]} for name, limit in limits.items()]


def _group_limits(groups: Any) -> dict[str, int]:
    if isinstance(groups, list):
        groups = {group["name"]: group["max_concurrency"] for group in groups}
    for name, limit in (groups or {}).items():
        if not isinstance(name, str) or isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ValueError(f"concurrency_groups maps names to positive integers, got {name!r}: {limit!r}")
    return dict(groups or {})


def _out_of_order(metadata: Any, options: dict[str, Any]) -> bool:
    chosen = options.get("allow_out_of_order_execution")
    if chosen is None:
        return bool(metadata.is_async or (options.get("max_concurrency") or 1) > 1)
    return bool(chosen)


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
