"""Deployments: classes and functions with options, bound to arguments into applications."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from narke.serve._private.common import DEFAULT
from narke.serve._private.graph import MethodNode
from narke.serve.config import AutoscalingConfig, BackpressureConfig, RequestRouterConfig
from narke.serve.schema import DeploymentSchema, LoggingConfig, RayActorOptionsSchema

__all__ = ["Application", "Deployment", "deployment_to_schema", "schema_to_deployment"]

DEFAULTS: dict[str, Any] = {
    "num_replicas": 1,
    "max_ongoing_requests": 5,
    "max_queued_requests": -1,
    "backpressure_config": None,
    "user_config": None,
    "autoscaling_config": None,
    "graceful_shutdown_wait_loop_s": 2.0,
    "graceful_shutdown_timeout_s": 20.0,
    "health_check_period_s": 10.0,
    "health_check_timeout_s": 30.0,
    "ray_actor_options": None,
    "placement_group_bundles": None,
    "placement_group_strategy": None,
    "placement_group_bundle_label_selector": None,
    "max_replicas_per_node": None,
    "logging_config": None,
    "request_router_config": None,
    "max_constructor_retry_count": 20,
    "gang_scheduling_config": None,
    "deployment_actors": None,
    "rolling_update_percentage": None,
    "max_surge_percent": None,
}
_NOT_IN_SCHEMA = ("max_constructor_retry_count",)
_NOT_SHOWN = (*_NOT_IN_SCHEMA, "deployment_actors")  # classes have no plain form
_MOST_PER_NODE = 100  # a bound on a node's replicas beyond this is none
_ACTOR_OPTIONS = set(RayActorOptionsSchema.model_fields)


class Application:
    """A deployment with the arguments of its constructor; what `narke.serve.run` takes."""

    def __init__(self, bound_deployment: Deployment) -> None:
        self._bound_deployment = bound_deployment

    def __getattr__(self, name: str) -> Any:
        """A method of it, to be bound into a graph behind a `narke.serve.drivers.DAGDriver`."""
        target = self.__dict__["_bound_deployment"]._func_or_class if not name.startswith("_") else None
        if not inspect.isclass(target) or not callable(getattr(target, name, None)):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return MethodNode(self, name)

    def __repr__(self) -> str:
        return f"Application({self._bound_deployment.name})"


class Deployment:
    """A class or function whose replicas answer requests. Made by `narke.serve.deployment`."""

    def __init__(
        self,
        name: str,
        deployment_config: dict[str, Any],
        replica_config: Any,
        version: str | None = None,
        _internal: bool = False,
    ) -> None:
        if not _internal:
            raise RuntimeError(
                "The Deployment constructor should not be called directly. Use `@serve.deployment` instead."
            )
        if not isinstance(name, str):
            raise TypeError("name must be a string.")
        if version is not None and not isinstance(version, str):
            raise TypeError("version must be a string.")
        self._name = name
        self._options = deployment_config
        self._func_or_class = replica_config
        self._version = version
        self._args: tuple[Any, ...] = ()
        self._kwargs: dict[str, Any] = {}
        self._route_prefix: Any = DEFAULT.VALUE
        self.__doc__ = getattr(replica_config, "__doc__", None)

    # ---- what it is ----

    @property
    def name(self) -> str:
        """Its name, unique in its application."""
        return self._name

    @property
    def version(self) -> str | None:
        """Version of its code, if one was given."""
        return self._version

    @property
    def func_or_class(self) -> Any:
        """What was decorated."""
        return self._func_or_class

    @property
    def num_replicas(self) -> int | None:
        """How many replicas it has; the first number with autoscaling."""
        scaling = self._options["autoscaling_config"]
        if scaling is None:
            return self._options["num_replicas"]  # type: ignore[no-any-return]
        return scaling.initial_replicas if scaling.initial_replicas is not None else scaling.min_replicas

    @property
    def user_config(self) -> Any:
        """What ``reconfigure`` is given."""
        return self._options["user_config"]

    @property
    def max_ongoing_requests(self) -> int:
        """Requests a replica runs at once."""
        return self._options["max_ongoing_requests"]  # type: ignore[no-any-return]

    @property
    def max_queued_requests(self) -> int:
        """Requests that may wait in one proxy or handle; -1: no limit."""
        return self._options["max_queued_requests"]  # type: ignore[no-any-return]

    @property
    def backpressure_config(self) -> BackpressureConfig | None:
        """How requests beyond that are answered."""
        return self._options["backpressure_config"]  # type: ignore[no-any-return]

    @property
    def ray_actor_options(self) -> dict[str, Any]:
        """Options of the replicas' actors."""
        return {"num_cpus": 1, **(self._options["ray_actor_options"] or {})}

    @property
    def init_args(self) -> tuple[Any, ...]:
        """Positional arguments of the constructor."""
        return self._args

    @property
    def init_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of the constructor."""
        return self._kwargs

    @property
    def logging_config(self) -> LoggingConfig | None:
        """How replicas log."""
        return self._options["logging_config"]  # type: ignore[no-any-return]

    def set_logging_config(self, logging_config: LoggingConfig | dict[str, Any]) -> None:
        """Have replicas log like this."""
        self._options = {**self._options, "logging_config": LoggingConfig.model_validate(logging_config)}

    @property
    def route_prefix(self) -> Any:
        """Route given to the deployment in the old style; DEFAULT.VALUE when none was."""
        return self._route_prefix

    # ---- what can be done with it ----

    def __call__(self) -> None:
        """Refuse: a deployment runs only in replicas."""
        raise RuntimeError(
            "Deployments cannot be constructed directly. Use `.bind()` and `serve.run()` instead."
        )

    def bind(self, *args: Any, **kwargs: Any) -> Application:
        """Give the constructor's arguments; other applications among them become handles of their deployments."""
        bound = copy.copy(self)
        bound._args, bound._kwargs = args, kwargs
        return Application(bound)

    def options(
        self,
        func_or_class: Callable[..., Any] | None = None,
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
        _internal: bool = False,
        **old: Any,
    ) -> Deployment:
        """The same with other options; see `narke.serve.deployment`."""
        given = {
            key: value for key, value in locals().items() if key in DEFAULTS and value is not DEFAULT.VALUE
        }
        given.update(take_old_names(old))
        changed = copy.copy(self)
        changed._route_prefix = old.pop("route_prefix", self._route_prefix)
        if func_or_class is not None:
            changed._func_or_class = func_or_class
        if name is not DEFAULT.VALUE:
            changed._name = name
        if version is not DEFAULT.VALUE:
            changed._version = version
        if "init_args" in old:
            changed._args = tuple(old["init_args"] or ())
        if "init_kwargs" in old:
            changed._kwargs = dict(old["init_kwargs"] or {})
        changed._options = merge_options(self._options, given)
        return changed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Deployment) and (
            self._name,
            self._version,
            self._options,
            self._args,
            self._kwargs,
            self._func_or_class,
        ) == (other._name, other._version, other._options, other._args, other._kwargs, other._func_or_class)

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"Deployment(name={self._name})"

    __str__ = __repr__

    # ---- the old style, in which each deployment was its own application ----

    def deploy(self, *init_args: Any, _blocking: bool = True, **init_kwargs: Any) -> None:
        """Deploy it alone, as ``serve.run(deployment.bind(...), name=deployment.name)`` does."""
        from narke.serve import api

        args, kwargs = init_args or self._args, init_kwargs or self._kwargs
        prefix = f"/{self._name}" if self._route_prefix is DEFAULT.VALUE else self._route_prefix
        api._run(self.bind(*args, **kwargs), _blocking=_blocking, name=self._name, route_prefix=prefix)

    def get_handle(self) -> Any:
        """Its handle, after `deploy`."""
        from narke.serve import api

        return api.get_deployment_handle(self._name, self._name)

    def delete(self) -> None:
        """Take it down, after `deploy`."""
        from narke.serve import api

        api.delete(self._name)


_OLD_NAMES = {"max_concurrent_queries": "max_ongoing_requests", "_autoscaling_config": "autoscaling_config"}
_OLD_ONLY = ("route_prefix", "init_args", "init_kwargs", "prev_version", "is_driver_deployment")


def take_old_names(old: dict[str, Any]) -> dict[str, Any]:
    """Options of former releases under today's names.

    Raises:
        TypeError: an option is unknown.
    """
    taken = {}
    for key, value in old.items():
        if key in _OLD_NAMES:
            taken[_OLD_NAMES[key]] = value
        elif key not in _OLD_ONLY:
            raise TypeError(f"deployment() got an unexpected keyword argument {key!r}")
    return taken


def merge_options(options: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Options with those given checked and put in place of the others.

    Raises:
        ValueError, TypeError: a value is not possible.
    """
    given = dict(given)
    count = given.get("num_replicas", DEFAULT.VALUE)
    if count is None:
        given["num_replicas"] = 1
    if isinstance(count, int) and not isinstance(count, bool) and count == 0:
        raise ValueError("num_replicas is expected to larger than 0")
    if count == "auto":
        given["num_replicas"] = 1
        given["autoscaling_config"] = _auto(given.get("autoscaling_config"))
        if "max_ongoing_requests" not in given:
            given["max_ongoing_requests"] = DEFAULTS["max_ongoing_requests"]
    elif (
        count is not DEFAULT.VALUE
        and count is not None
        and given.get("autoscaling_config") not in (None, DEFAULT.VALUE)
    ):
        raise ValueError("Manually setting num_replicas is not allowed when autoscaling_config is provided.")
    elif isinstance(count, int) and "autoscaling_config" not in given:
        given["autoscaling_config"] = None
    _check(given)
    merged = {**options, **given}
    _check_place(merged)
    return merged


def _check_place(options: dict[str, Any]) -> None:
    """Check what bounds a node's replicas: by itself, and beside what else says where replicas go.

    Raises:
        ValueError, TypeError: the bound is no possible number, or excluded by another option.
    """
    if options["placement_group_strategy"] is not None and not options["placement_group_bundles"]:
        raise ValueError(
            "If `placement_group_strategy` is provided, `placement_group_bundles` must also be provided."
        )
    most = options["max_replicas_per_node"]
    if most is None:
        return
    if not isinstance(most, int) or isinstance(most, bool):
        raise TypeError(
            f"Got invalid type '{type(most)}' for max_replicas_per_node: it must be None or an integer in the range "
            f"of [1, {_MOST_PER_NODE}]."
        )
    if not 1 <= most <= _MOST_PER_NODE:
        raise ValueError(
            f"Invalid max_replicas_per_node {most}: it must be None or an integer in [1, {_MOST_PER_NODE}]."
        )
    for other in ("placement_group_bundles", "gang_scheduling_config"):
        if options[other]:
            raise ValueError(f"Setting max_replicas_per_node is not allowed when {other} is provided.")


def _auto(given: Any) -> AutoscalingConfig:
    fields = AutoscalingConfig.default().model_dump(exclude_unset=True)
    if isinstance(given, AutoscalingConfig):
        fields.update(given.model_dump(exclude_unset=True))
    elif given:
        fields.update(given)
    return AutoscalingConfig(**fields)


def _check(given: dict[str, Any]) -> None:
    """Check the options and turn dicts into models, in place."""
    if given.get("max_ongoing_requests", 1) is None:
        raise ValueError("`max_ongoing_requests` must be non-null, got None.")
    models: dict[str, Any] = {
        "autoscaling_config": AutoscalingConfig,
        "backpressure_config": BackpressureConfig,
        "logging_config": LoggingConfig,
        "request_router_config": RequestRouterConfig,
    }
    for key, model in models.items():
        if isinstance(given.get(key), dict):
            given[key] = model(**given[key])
    actor_options = given.get("ray_actor_options")
    if actor_options is not None:
        _check_actor_options(actor_options)
    schema = {
        k: v for k, v in given.items() if k not in (*_NOT_IN_SCHEMA, "ray_actor_options", "user_config")
    }
    if given.get("autoscaling_config") is not None:
        schema.pop("num_replicas", None)
    DeploymentSchema(name="options", **{k: v for k, v in schema.items() if v is not None})


def _check_actor_options(options: Any) -> None:
    if not isinstance(options, dict):
        raise TypeError(f"Got invalid type '{type(options)}' for ray_actor_options. Expected a dictionary.")
    for key in options:
        if key not in _ACTOR_OPTIONS:
            raise ValueError(
                f"Specifying '{key}' in ray_actor_options is not allowed. Allowed options: {sorted(_ACTOR_OPTIONS)}"
            )


def make_deployment(
    target: Any, name: Any, version: Any, given: dict[str, Any], old: dict[str, Any]
) -> Deployment:
    """What the decorator does.

    Raises:
        TypeError: `target` is neither a class nor a function.
    """
    if isinstance(target, Deployment):
        raise TypeError("@serve.deployment cannot decorate a deployment: use its .options()")
    if not callable(target):
        raise TypeError("@serve.deployment must be called on a class or function.")
    if not (inspect.isclass(target) or inspect.isroutine(target)):
        raise TypeError("@serve.deployment must be called on a class or function.")
    given = {**given, **take_old_names(old)}
    options = merge_options(DEFAULTS, given)
    chosen = target.__name__ if name is DEFAULT.VALUE else name
    made = Deployment(chosen, options, target, None if version is DEFAULT.VALUE else version, _internal=True)
    if "route_prefix" in old:
        made._route_prefix = old["route_prefix"]
    if "init_args" in old or "init_kwargs" in old:
        made._args, made._kwargs = tuple(old.get("init_args") or ()), dict(old.get("init_kwargs") or {})
    return made


def options_for_people(deployment: Deployment) -> dict[str, Any]:
    """The options as status and config files show them: fields of a DeploymentSchema, plain data."""
    shown: dict[str, Any] = {}
    for key, value in deployment._options.items():
        if (
            key in _NOT_SHOWN
            or value is None
            or (key == "num_replicas" and deployment._options["autoscaling_config"])
        ):
            continue
        shown[key] = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    shown["ray_actor_options"] = deployment.ray_actor_options
    return shown


def deployment_to_schema(d: Deployment) -> DeploymentSchema:
    """A deployment's options as a config file has them."""
    return DeploymentSchema(name=d.name, **options_for_people(d))


def schema_to_deployment(s: DeploymentSchema) -> Deployment:
    """A deployment with a config file's options, and no code."""
    given = s.given()
    if isinstance(given.get("ray_actor_options"), RayActorOptionsSchema):
        given["ray_actor_options"] = given["ray_actor_options"].model_dump(exclude_unset=True)
    return Deployment(s.name, merge_options(DEFAULTS, given), "", None, _internal=True)
