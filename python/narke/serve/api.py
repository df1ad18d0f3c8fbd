"""The functions of Serve."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import sys
import time
from collections.abc import Callable
from typing import Any

from narke._private import session
from narke.serve import context as _context
from narke.serve._private import client, tracing
from narke.serve._private.build import build_app
from narke.serve._private.common import DEFAULT, DEFAULT_APP_NAME, DeploymentID
from narke.serve.batching import batch
from narke.serve.config import ControllerOptions, HTTPOptions, ProxyLocation, gRPCOptions
from narke.serve.deployment import DEFAULTS, Application, Deployment, make_deployment
from narke.serve.exceptions import RayServeException
from narke.serve.handle import DeploymentHandle
from narke.serve.multiplex import multiplexed
from narke.serve.schema import LoggingConfig, ServeStatus, check_route_prefix

__all__ = [
    "RunTarget",
    "batch",
    "delete",
    "deployment",
    "get_app_handle",
    "get_deployment_actor",
    "get_deployment_actor_context",
    "get_deployment_handle",
    "get_multiplexed_model_id",
    "get_replica_context",
    "ingress",
    "multiplexed",
    "run",
    "run_many",
    "shutdown",
    "shutdown_async",
    "start",
    "status",
]


def start(
    proxy_location: str | ProxyLocation | None = None,
    http_options: dict[str, Any] | HTTPOptions | None = None,
    grpc_options: dict[str, Any] | gRPCOptions | None = None,
    logging_config: dict[str, Any] | LoggingConfig | None = None,
    tracing_config: Any = None,
    controller_options: dict[str, Any] | ControllerOptions | None = None,
    **kwargs: Any,
) -> None:
    """Start Serve on the cluster, with options of its own; `run` does it with the defaults.

    Args:
        proxy_location: nodes that have a proxy: "HeadOnly", "EveryNode" (default) or "Disabled".
        http_options: where HTTP is served; see `narke.serve.config.HTTPOptions`.
        grpc_options: where gRPC is served; see `narke.serve.config.gRPCOptions`.
        logging_config: how Serve logs.
        tracing_config: whether and where requests are traced; without it RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH and
            RAY_SERVE_TRACING_SAMPLING_RATIO decide.
        controller_options: options of the controller's actor.
        kwargs: old options, such as ``detached`` and ``dedicated_cpu``; they have no effect.

    Raises:
        RuntimeError: a proxy cannot listen; the text says why.
    """
    session.connected()
    options = _options(proxy_location, http_options, grpc_options)
    options["tracing"] = tracing.settings(tracing_config)
    client.start(options, _controller_options(controller_options))


def _controller_options(given: Any) -> ControllerOptions | None:
    return ControllerOptions(**given) if isinstance(given, dict) else given


def _options(proxy_location: Any, http_options: Any, grpc_options: Any) -> dict[str, Any]:
    http = HTTPOptions(**http_options) if isinstance(http_options, dict) else http_options or HTTPOptions()
    location = http.location if proxy_location is None else ProxyLocation._normalize(proxy_location)
    if location is None:
        location = ProxyLocation.HeadOnly if http_options else ProxyLocation.EveryNode
    fields = http.model_dump(exclude={"location", "middlewares", "root_url"})
    if fields["host"] is None:
        location = ProxyLocation.Disabled
    grpc = gRPCOptions(**grpc_options) if isinstance(grpc_options, dict) else grpc_options
    return {**fields, "location": location.value, "grpc": _grpc_options(grpc)}


def _grpc_options(grpc: gRPCOptions | None) -> dict[str, Any] | None:
    """The options, with where the servicer functions are imported from."""
    if grpc is None:
        return None
    return {**grpc.model_dump(), "sys_path": [entry for entry in sys.path if entry]}


def shutdown() -> None:
    """End Serve on the cluster: all applications, proxies and the controller. Nothing happens where it does not run."""
    if session.current() is None:
        return
    client.shut_down()


async def shutdown_async() -> None:
    """`shutdown`, for event loops."""
    await asyncio.to_thread(shutdown)


def deployment(
    _func_or_class: Callable[..., Any] | None = None,
    name: Any = DEFAULT.VALUE,
    version: Any = DEFAULT.VALUE,
    num_replicas: Any = DEFAULT.VALUE,
    ray_actor_options: Any = DEFAULT.VALUE,
    placement_group_bundles: Any = DEFAULT.VALUE,
    placement_group_strategy: Any = DEFAULT.VALUE,
    placement_group_bundle_label_selector: Any = DEFAULT.VALUE,
    max_replicas_per_node: Any = DEFAULT.VALUE,
    user_config: Any = DEFAULT.VALUE,
    max_ongoing_requests: Any = DEFAULT.VALUE,
    max_queued_requests: Any = DEFAULT.VALUE,
    backpressure_config: Any = DEFAULT.VALUE,
    autoscaling_config: Any = DEFAULT.VALUE,
    graceful_shutdown_wait_loop_s: Any = DEFAULT.VALUE,
    graceful_shutdown_timeout_s: Any = DEFAULT.VALUE,
    health_check_period_s: Any = DEFAULT.VALUE,
    health_check_timeout_s: Any = DEFAULT.VALUE,
    logging_config: Any = DEFAULT.VALUE,
    request_router_config: Any = DEFAULT.VALUE,
    max_constructor_retry_count: Any = DEFAULT.VALUE,
    gang_scheduling_config: Any = DEFAULT.VALUE,
    deployment_actors: Any = DEFAULT.VALUE,
    rolling_update_percentage: Any = DEFAULT.VALUE,
    max_surge_percent: Any = DEFAULT.VALUE,
    **old: Any,
) -> Any:
    """Make a deployment of a class or function.

    Args:
        name: unique in its application; the class's or function's name by default.
        version: replicas of another version are replaced; without one each deploy replaces all.
        num_replicas: how many (1), or "auto" for autoscaling with its defaults.
        ray_actor_options: options of the replicas' actors: num_cpus (1), num_gpus, memory, resources, runtime_env, ...
        placement_group_bundles, placement_group_strategy: a placement group for each replica.
        placement_group_bundle_label_selector: labels of the bundles' nodes.
        max_replicas_per_node: at most so many on a node.
        user_config: passed to the instance's ``reconfigure``; a change of it alone starts no new replicas.
        max_ongoing_requests: requests a replica runs at once (5).
        max_queued_requests: requests that may wait in one proxy or handle; -1 (default): no limit.
        backpressure_config: how requests beyond that are answered.
        autoscaling_config: how the number of replicas follows the requests.
        graceful_shutdown_wait_loop_s: how long a leaving replica looks for late requests (2).
        graceful_shutdown_timeout_s: how long requests of a leaving replica may take (20).
        health_check_period_s, health_check_timeout_s: of the instance's ``check_health`` (10, 30).
        logging_config: how replicas log.
        request_router_config: which class chooses replicas.
        max_constructor_retry_count: failed starts after which the deployment has failed (20).
        gang_scheduling_config: replicas in gangs.
        deployment_actors: actors that the replicas share.
        rolling_update_percentage, max_surge_percent: how many replicas an update replaces at once.
        old: options of former releases.

    Returns:
        a `Deployment`; a decorator when used with parentheses.

    Raises:
        TypeError, ValueError: an option is unknown or its value is not possible.
    """
    given = {key: value for key, value in locals().items() if key in DEFAULTS and value is not DEFAULT.VALUE}

    def decorate(target: Callable[..., Any]) -> Deployment:
        return make_deployment(target, name, version, given, old)

    return decorate(_func_or_class) if callable(_func_or_class) else decorate


def ingress(app: Any = None) -> Callable[..., Any]:
    """Have an ASGI app (FastAPI or any other), or a function that builds one, answer a deployment's HTTP requests.

    Routes of a FastAPI app that are declared in the class's body get the instance as ``self``. The deployment has the
    routes that the app has when the class is decorated, without those of other classes: several may share an app.

    Args:
        app: the app; None: the class itself is one.

    Returns:
        a decorator for the deployment's class; goes under ``@serve.deployment``. Called without a class it makes one
        whose constructor takes anything: ``serve.deployment(serve.ingress(app)())``.
    """

    from narke.serve._private.asgi import declared_routes, register_pickling

    register_pickling()

    def decorate(cls: Any = None) -> Any:
        if cls is None:
            cls = type("ASGIIngressDeployment", (), {"__init__": _take_anything, "__module__": __name__})
        if not inspect.isclass(cls):
            raise ValueError("@serve.ingress must be used with a class.")
        if issubclass(cls, Deployment) or isinstance(cls, Deployment):
            raise ValueError("@serve.ingress must be used before (below) @serve.deployment.")
        if app is not None and any("__call__" in vars(each) for each in cls.__mro__):
            raise ValueError(
                "Classes passed to @serve.ingress may not have __call__ method: the app answers requests."
            )
        builder = inspect.isfunction(app) and not _is_asgi_function(app)
        attributes: dict[str, Any] = {
            "__serve_asgi__": app,
            "__serve_routes__": declared_routes(app, cls),
            "__module__": cls.__module__,
            "__doc__": cls.__doc__,
            "__annotations__": dict(vars(cls).get("__annotations__", {})),
            "__wrapped__": cls,
        }
        if builder:
            attributes["__serve_builds_app__"] = True
            attributes["_serve_build_app"] = lambda self: _call_builder(app)
        wrapped = type(cls.__name__, (cls,), attributes)
        wrapped.__qualname__ = cls.__qualname__
        return wrapped

    return decorate


def _take_anything(self: Any, *args: Any, **kwargs: Any) -> None:
    """The constructor of a deployment that is its app alone; what is bound runs beside it."""


def _is_asgi_function(app: Callable[..., Any]) -> bool:
    return len(inspect.signature(app).parameters) == 3


def _call_builder(builder: Callable[..., Any]) -> Any:
    return builder()


@dataclasses.dataclass(order=True)
class RunTarget:
    """One application for `run_many`.

    Attributes:
        target: the bound deployment.
        name: of the application.
        route_prefix: where it is served; None: by handles only.
        logging_config: how its replicas log.
        external_scaler_enabled: whether others may set its numbers of replicas.
    """

    target: Application
    name: str = DEFAULT_APP_NAME
    route_prefix: str | None = "/"
    logging_config: dict[str, Any] | LoggingConfig | None = None
    external_scaler_enabled: bool = False


def _run_many(
    targets: Any,
    wait_for_ingress_deployment_creation: bool = True,
    wait_for_applications_running: bool = True,
    _local_testing_mode: bool = False,
    controller_options: Any = None,
) -> list[DeploymentHandle]:
    """Deploy applications and give their handles; `run_many` without blocking."""
    targets = list(targets)
    if not targets:
        raise ValueError("No applications provided.")
    names = [target.name for target in targets]
    if len(set(names)) != len(names):
        raise RayServeException("Application names must be unique.")
    for target in targets:
        _check(target)
    if _local_testing_mode:
        from narke.serve._private.local_testing import make_local_handle

        return [make_local_handle(target.target, target.name) for target in targets]
    session.connected()
    options = {**_options(None, None, None), "tracing": tracing.settings(None)}
    client.start(options, _controller_options(controller_options))
    apps = [
        build_app(
            target.target,
            target.name,
            target.route_prefix,
            logging_config=_logging(target.logging_config),
            external_scaler=target.external_scaler_enabled,
        )
        for target in targets
    ]
    client.deploy(apps, wait_for_applications_running)
    return [DeploymentHandle(app.ingress, app.name) for app in apps]


def _logging(config: Any) -> LoggingConfig | None:
    return LoggingConfig(**config) if isinstance(config, dict) else config


def _check(target: RunTarget) -> None:
    if not isinstance(target.name, str) or not target.name:
        raise RayServeException("Application name must a non-empty string.")
    check_route_prefix(target.route_prefix)
    if not isinstance(target.target, Application):
        message = "`serve.run` expects an `Application` returned by `Deployment.bind()`."
        if isinstance(target.target, Deployment):
            message += " You can create one by calling `.bind()` on your deployment."
        raise TypeError(message)


def run_many(
    targets: Any,
    blocking: bool = False,
    wait_for_ingress_deployment_creation: bool = True,
    wait_for_applications_running: bool = True,
    _local_testing_mode: bool = False,
    controller_options: Any = None,
) -> list[DeploymentHandle]:
    """Deploy several applications at once.

    Args:
        targets: `RunTarget` objects.
        blocking: do not return until interrupted.
        wait_for_ingress_deployment_creation: until the controller knows them; always so.
        wait_for_applications_running: until all run.

    Returns:
        handles of their ingress deployments.

    Raises:
        RuntimeError: one failed to deploy.
    """
    handles = _run_many(
        targets,
        wait_for_ingress_deployment_creation,
        wait_for_applications_running,
        _local_testing_mode,
        controller_options,
    )
    if blocking:
        _block()
    return handles


def _block() -> None:
    try:
        while True:
            time.sleep(10)
    except KeyboardInterrupt:
        shutdown()
        raise SystemExit(0) from None


def _run(
    target: Any,
    *,
    _blocking: bool = True,
    name: str = DEFAULT_APP_NAME,
    route_prefix: Any = "/",
    logging_config: Any = None,
    _local_testing_mode: bool = False,
    external_scaler_enabled: bool = False,
    controller_options: Any = None,
) -> DeploymentHandle:
    """Deploy an application and give its handle; with `_blocking`, once it runs."""
    target, route_prefix = _take_old_forms(target, route_prefix)
    one = RunTarget(target, name, route_prefix, logging_config, external_scaler_enabled)
    handles = _run_many(
        [one],
        wait_for_applications_running=_blocking,
        _local_testing_mode=_local_testing_mode,
        controller_options=controller_options,
    )
    return handles[0]


def _take_old_forms(target: Any, route_prefix: Any) -> tuple[Any, Any]:
    """Graphs of former releases: a DAG driver's node, a deployment with a route of its own."""
    if isinstance(target, Application):
        own = target._bound_deployment._route_prefix
        if own is not DEFAULT.VALUE and route_prefix in ("/", DEFAULT.VALUE):
            route_prefix = own
    return target, "/" if route_prefix is DEFAULT.VALUE else route_prefix


def run(
    target: Application,
    blocking: bool = False,
    name: str = DEFAULT_APP_NAME,
    route_prefix: Any = "/",
    logging_config: dict[str, Any] | LoggingConfig | None = None,
    _local_testing_mode: bool = False,
    external_scaler_enabled: bool = False,
    controller_options: Any = None,
    **old: Any,
) -> DeploymentHandle:
    """Deploy an application, and start Serve if it does not run.

    Args:
        target: what ``Deployment.bind`` gave: the ingress deployment.
        blocking: do not return until interrupted.
        name: the application's; one of the same name is replaced.
        route_prefix: where it is served over HTTP; None: by handles only.
        logging_config: how its replicas log.
        external_scaler_enabled: whether others may set its numbers of replicas.
        controller_options: options of the controller's actor, if it is to be started.
        old: ``host`` and ``port`` of former releases.

    Returns:
        the ingress deployment's handle, once the application runs.

    Raises:
        RuntimeError: it failed to deploy; the text has the reason.
        TypeError: `target` is no application.
        ValueError: the route prefix is not possible, or taken.
    """
    if old:
        unknown = set(old) - {"host", "port"}
        if unknown:
            raise TypeError(f"run() got an unexpected keyword argument {sorted(unknown)[0]!r}")
        start(http_options=old)
    handle = _run(
        target,
        name=name,
        route_prefix=route_prefix,
        logging_config=logging_config,
        _local_testing_mode=_local_testing_mode,
        external_scaler_enabled=external_scaler_enabled,
        controller_options=controller_options,
    )
    if blocking:
        _block()
    return handle


def delete(name: str, _blocking: bool = True) -> None:
    """Take an application down, once its requests are answered.

    Args:
        name: the application's; one that does not exist is nothing to do.
    """
    client.delete_apps([name], _blocking)


def status() -> ServeStatus:
    """The state of proxies and applications; an empty one where Serve does not run."""
    import narke
    from narke.serve._private.status import status_from

    found = client.controller()
    return ServeStatus() if found is None else status_from(narke.get(found.status.remote()))


def get_app_handle(name: str) -> DeploymentHandle:
    """The handle of an application's ingress deployment.

    Raises:
        RayServeException: there is no such application.
    """
    import narke

    ingress_name = narke.get(client.connect().app_ingress.remote(name))
    if ingress_name is None:
        raise RayServeException(f"Application '{name}' does not exist.")
    return DeploymentHandle(ingress_name, name)


def get_deployment_handle(
    deployment_name: str,
    app_name: str | None = None,
    _check_exists: bool = True,
    _record_telemetry: bool = True,
) -> DeploymentHandle:
    """A deployment's handle.

    Args:
        deployment_name: the deployment's.
        app_name: its application's; in a replica, that of the replica by default, else "default".

    Raises:
        KeyError: there is no such deployment.
    """
    import narke

    here = _context.replica_context()
    if app_name is None:
        app_name = here.app_name if here is not None else DEFAULT_APP_NAME
    if _check_exists and asyncio._get_running_loop() is None:
        if narke.get(client.connect().deployment_info.remote(f"{app_name}#{deployment_name}")) is None:
            raise KeyError(f"{DeploymentID(deployment_name, app_name)} does not exist.")
    return DeploymentHandle(deployment_name, app_name)


def get_replica_context() -> _context.ReplicaContext:
    """Facts about the replica that the calling code runs in.

    Raises:
        RayServeException: it runs in none.
    """
    found = _context.replica_context()
    if found is None:
        raise RayServeException(
            "`serve.get_replica_context()` may only be called from within a Ray Serve deployment."
        )
    return found


def get_multiplexed_model_id() -> str:
    """The model that the request asked for: its header ``serve_multiplexed_model_id``, or the handle's option."""
    return _context.request_context.get().model_id


def get_deployment_actor(actor_name: str) -> Any:
    """An actor that the deployment of the calling replica shares; see ``deployment_actors``.

    Raises:
        RayServeException: called outside of a replica, or there is no such actor.
    """
    import narke
    from narke.serve._private.common import NAMESPACE
    from narke.serve._private.shared_actors import actor_name as shared_name

    here = get_replica_context()
    try:
        return narke.get_actor(shared_name(here.replica_id.deployment_id.key, actor_name), NAMESPACE)
    except ValueError:
        raise RayServeException(
            f"{here.replica_id.deployment_id} has no deployment actor named {actor_name!r}."
        ) from None


def get_deployment_actor_context() -> _context.DeploymentActorContext:
    """Facts about the deployment actor that the calling code runs in.

    Raises:
        RayServeException: it runs in none.
    """
    import narke

    name = narke.get_runtime_context().get_actor_name() or ""
    kind, _, rest = name.partition("::")
    if kind != "SERVE_DEPLOYMENT_ACTOR":
        raise RayServeException(
            "`serve.get_deployment_actor_context()` may only be called from within a deployment actor."
        )
    from narke.serve._private.common import DeploymentID

    key, _, actor = rest.rpartition("#")
    return _context.DeploymentActorContext(DeploymentID.from_key(key), actor)
