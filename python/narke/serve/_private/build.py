"""From bound deployments to what the controller is told, and from config files to bound deployments."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import uuid
from collections.abc import Callable
from typing import Any

from narke.serve._private import shared_actors
from narke.serve._private.graph import CallNode, given_of, holds_calls
from narke.serve._private.targets import AppTarget, DeploymentTarget
from narke.serve.config import GangRuntimeFailurePolicy, GangSchedulingConfig, import_attr
from narke.serve.deployment import Application, Deployment, merge_options, options_for_people

__all__ = ["build_app", "build_in_task", "import_app", "unique_deployments"]


def unique_deployments(
    app: Application, make_handle: Callable[[str], Any]
) -> tuple[str, dict[str, Deployment]]:
    """The deployments of a graph, each once, with handles in place of the applications among their arguments.

    Args:
        app: the ingress.
        make_handle: gives the handle of a deployment of this application.

    Returns:
        the ingress deployment's name, and the deployments by name; two of one name are told apart by a number.

    Raises:
        ValueError: the graph has a cycle.
    """
    names: dict[int, str] = {}
    found: dict[str, Deployment] = {}
    kept: list[Any] = []  # ids must not be used again meanwhile
    path: list[int] = []
    calls: dict[int, CallNode] = {}

    def call(node: Any, target: Any, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallNode:
        given = tuple(replace(value) for value in args), {key: replace(v) for key, v in kwargs.items()}
        kept.append(node)
        made = calls[id(node)] = CallNode(make_handle(visit(target)), method, *given)
        return made

    def visit(node: Application) -> str:
        key = id(node)
        if key in path:
            raise ValueError(f"The application's graph has a cycle through {node!r}")
        if key in names:
            return names[key]
        path.append(key)
        deployment = node._bound_deployment
        args = tuple(replace(value) for value in deployment._args)
        kwargs = {name: replace(value) for name, value in deployment._kwargs.items()}
        path.pop()
        name, number = deployment.name, 1
        while name in found:
            name = f"{deployment.name}_{number}"
            number += 1
        bound = deployment.options(name=name)
        bound._args, bound._kwargs = args, kwargs
        found[name] = bound
        names[key] = name
        kept.append(node)
        return name

    def replace(value: Any) -> Any:
        if (given := given_of(value)) is not None:
            return given
        if isinstance(value, (Application, CallNode)) and id(value) in calls:
            return calls[id(value)]
        if isinstance(value, CallNode):
            return call(value, value.target, value.method, value.args, value.kwargs)
        if isinstance(value, Application) and _is_call(value):
            bound = value._bound_deployment
            return call(value, bound.bind(), "__call__", bound._args, bound._kwargs)
        if isinstance(value, Application):
            return make_handle(visit(value))
        if isinstance(value, Deployment):
            return make_handle(visit(value.bind()))
        if type(value) in (list, tuple, set):
            return type(value)(replace(item) for item in value)
        if type(value) is dict:
            return {name: replace(item) for name, item in value.items()}
        return value

    return visit(app), found


def _is_call(app: Application) -> bool:
    """Whether a function's arguments make it a call of each request, as graphs of former releases have them."""
    bound = app._bound_deployment
    values = [*bound._args, *bound._kwargs.values()]
    return inspect.isroutine(bound._func_or_class) and any(
        holds_calls(value) or isinstance(value, Application) and _is_call(value) for value in values
    )


def build_app(
    app: Application,
    name: str,
    route_prefix: str | None,
    *,
    logging_config: Any = None,
    version: str | None = None,
    external_scaler: bool = False,
) -> AppTarget:
    """What the controller is told of an application.

    Args:
        version: of deployments that name none; random without it, so that each deploy starts new replicas.
    """
    from narke.serve.handle import DeploymentHandle

    ingress, deployments = unique_deployments(app, lambda each: DeploymentHandle(each, name))
    targets = [
        _target(each, name, each.name == ingress, route_prefix, logging_config, version)
        for each in deployments.values()
    ]
    return AppTarget(name, route_prefix, ingress, targets, external_scaler=external_scaler)


def _target(
    deployment: Deployment,
    app_name: str,
    is_ingress: bool,
    route_prefix: str | None,
    logging_config: Any,
    version: str | None,
) -> DeploymentTarget:
    from narke._private.serialization import export_pickle

    options = deployment._options
    code = deployment._func_or_class
    if isinstance(code, str):
        code = import_attr(code)
    payload = export_pickle((code, deployment._args, deployment._kwargs), "deployment", deployment.name)
    scaling = options["autoscaling_config"]
    policy = scaling.policy.get_serialized_policy_def() if scaling is not None else None
    logs = options["logging_config"] or logging_config
    start = deployment.num_replicas if scaling is None else scaling.initial_replicas
    target = DeploymentTarget(
        name=deployment.name,
        app_name=app_name,
        version="",
        payload=payload,
        num_replicas=start if start is not None else scaling.min_replicas,
        max_ongoing_requests=options["max_ongoing_requests"],
        max_queued_requests=options["max_queued_requests"],
        backpressure=options["backpressure_config"].model_dump() if options["backpressure_config"] else {},
        user_config=options["user_config"],
        actor_options=deployment.ray_actor_options,
        gang=_gang(deployment),
        placement=_placement(options),
        autoscaling=scaling.model_dump(exclude={"policy"}) | _policy_fields(scaling)
        if scaling is not None
        else None,
        autoscaling_policy=policy,
        router=_router(options["request_router_config"]),
        logging_config=logs.model_dump(mode="json") if logs is not None else None,
        route_prefix=route_prefix if is_ingress else None,
        is_ingress=is_ingress,
        shared_actors=shared_actors.describe(options["deployment_actors"]),
        sys_path=[entry for entry in sys.path if entry],
        docs_path=_docs_path(code, route_prefix) if is_ingress else None,
        config=options_for_people(deployment),
        **{key: options[key] for key in _AS_THEY_ARE},
    )
    target.version = deployment.version or (f"{version}-{_hash(target)}" if version else uuid.uuid4().hex)
    return target


_AS_THEY_ARE = (
    "graceful_shutdown_wait_loop_s",
    "graceful_shutdown_timeout_s",
    "health_check_period_s",
    "health_check_timeout_s",
    "max_constructor_retry_count",
    "rolling_update_percentage",
    "max_surge_percent",
    "max_replicas_per_node",
)


def _gang(deployment: Deployment) -> dict[str, Any] | None:
    """What the controller is told of a deployment's gangs.

    Raises:
        ValueError: its replicas are no whole gangs.
    """
    config = deployment._options["gang_scheduling_config"]
    if config is None:
        return None
    gang = GangSchedulingConfig.model_validate(config)
    count = deployment.num_replicas
    if isinstance(count, int) and count % gang.gang_size:
        raise ValueError(
            f"num_replicas ({count}) of deployment {deployment.name} must be a multiple of gang_size "
            f"({gang.gang_size})."
        )
    breaks = gang.runtime_failure_policy is GangRuntimeFailurePolicy.RESTART_GANG
    return {"size": gang.gang_size, "strategy": gang.gang_placement_strategy.value, "breaks": breaks}


def _policy_fields(scaling: Any) -> dict[str, Any]:
    policy = scaling.policy
    return {"policy": {"policy_function": policy.policy_function, "policy_kwargs": policy.policy_kwargs}}


def _router(config: Any) -> bytes | None:
    if config is None or config.is_default_request_router():
        return None
    from narke import cloudpickle

    return bytes(cloudpickle.dumps((config.get_request_router_class(), config.request_router_kwargs)))


def _placement(options: dict[str, Any]) -> dict[str, Any] | None:
    if not options["placement_group_bundles"]:
        return None
    return {
        "bundles": options["placement_group_bundles"],
        "strategy": options["placement_group_strategy"],
        "labels": options["placement_group_bundle_label_selector"],
    }


def _hash(target: DeploymentTarget) -> str:
    """What a change of needs new replicas, beside the code."""
    relevant = [target.actor_options, target.placement, target.max_replicas_per_node]
    text = json.dumps(relevant, sort_keys=True, default=repr)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:12]


def _docs_path(code: Any, route_prefix: str | None) -> str | None:
    app = getattr(code, "__serve_asgi__", None)
    path = getattr(app, "docs_url", None)
    if path is None or route_prefix is None:
        return None
    return f"{route_prefix.rstrip('/')}{path}"


# ---- config files ----


def import_app(import_path: str, args: dict[str, Any]) -> Application:
    """The application that an import path names; a builder function is called with `args`.

    Raises:
        TypeError: it is neither an application nor a builder of one.
    """
    return call_builder(import_attr(import_path), args, import_path)


def call_builder(found: Any, args: dict[str, Any], import_path: str) -> Application:
    """An application, or what a builder function makes of `args`."""
    if isinstance(found, Deployment):
        found = found.bind()
    if not isinstance(found, Application) and inspect.isroutine(found):
        found = found(_builder_argument(found, args)) if inspect.signature(found).parameters else found()
    if not isinstance(found, Application):
        raise TypeError(
            f'Expected "{import_path}" to be an Application or a function that returns one, but got {type(found)}.'
        )
    return found


def _builder_argument(builder: Callable[..., Any], args: dict[str, Any]) -> Any:
    """Builders may ask for their arguments as a pydantic model."""
    import typing

    from pydantic import BaseModel

    parameter = next(iter(inspect.signature(builder).parameters.values()))
    wanted = typing.get_type_hints(builder).get(parameter.name)
    if inspect.isclass(wanted) and issubclass(wanted, BaseModel):
        return wanted.model_validate(args)
    return args


def override(app: AppTarget, config: dict[str, Any]) -> AppTarget:
    """Put a config file's options in place of the code's; done before building, see `build_config`."""
    app.config = config
    app.external_scaler = config.get("external_scaler_enabled", False)
    return app


def build_config(config: dict[str, Any]) -> AppTarget:
    """What the controller is told of one application of a config file.

    Raises:
        ValueError: the file names a deployment that the application has not.
    """
    from narke.serve.handle import DeploymentHandle
    from narke.serve.schema import ServeApplicationSchema

    schema = ServeApplicationSchema.model_validate(config)
    app = import_app(schema.import_path, schema.args)
    ingress, deployments = unique_deployments(app, lambda each: DeploymentHandle(each, schema.name))
    for given in schema.deployments:
        if given.name not in deployments:
            raise ValueError(f'Deployment "{given.name}" does not exist. Available: {sorted(deployments)}')
        options = given.given()
        if hasattr(options.get("ray_actor_options"), "model_dump"):
            options["ray_actor_options"] = options["ray_actor_options"].model_dump(exclude_unset=True)
        changed = deployments[given.name]
        changed._options = merge_options(changed._options, options)
    key = json.dumps([schema.import_path, schema.runtime_env, schema.args], sort_keys=True, default=str)
    version = hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest()[:12]
    prefix = schema.route_prefix
    targets = [
        _target(each, schema.name, each.name == ingress, prefix, schema.logging_config, version)
        for each in deployments.values()
    ]
    for target in targets:
        if schema.runtime_env:
            target.actor_options["runtime_env"] = {
                **schema.runtime_env,
                **(target.actor_options.get("runtime_env") or {}),
            }
    return override(AppTarget(schema.name, prefix, ingress, targets), config)


async def build_in_task(config: dict[str, Any]) -> AppTarget:
    """`build_config` in a worker that has the application's environment."""
    import narke

    task = narke.remote(build_config).options(
        runtime_env=config.get("runtime_env") or {}, num_cpus=0, max_retries=0
    )
    return await task.remote(config)  # type: ignore[no-any-return]
