"""Options of Serve, with their checks."""

from __future__ import annotations

import enum
import importlib
import json
from collections.abc import Callable
from typing import Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    field_validator,
    model_validator,
)

from narke.serve._private.common import DeploymentID, ReplicaID
from narke.serve._private.models import Model

__all__ = [
    "DEFAULT_METRICS_INTERVAL_S",
    "AggregationFunction",
    "AutoscalingConfig",
    "AutoscalingContext",
    "AutoscalingPolicy",
    "BackpressureConfig",
    "ControllerOptions",
    "DeploymentActorConfig",
    "GangPlacementStrategy",
    "GangRuntimeFailurePolicy",
    "GangSchedulingConfig",
    "HTTPOptions",
    "ProxyLocation",
    "RequestRouterConfig",
    "gRPCOptions",
]

DEFAULT_METRICS_INTERVAL_S = 10.0
_DEFAULT_POLICY = "ray.serve.autoscaling_policy:default_autoscaling_policy"
_DEFAULT_ROUTER = "ray.serve._private.request_router:PowerOfTwoChoicesRequestRouter"


def import_attr(path: str) -> Any:
    """What ``module:attribute`` or ``module.attribute`` names; ``ray.`` names this package's own."""
    module, _, name = path.replace(":", ".").rpartition(".")
    if module == "ray" or module.startswith("ray."):
        module = "narke" + module[3:]
    return getattr(importlib.import_module(module), name)


def _pickled(value: Any) -> bytes:
    from narke import cloudpickle

    return bytes(cloudpickle.dumps(value))


def _check_json(value: dict[str, Any], what: str) -> dict[str, Any]:
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} is not JSON-serializable: {error}.") from error
    return value


class AggregationFunction(str, enum.Enum):
    """How values of the look-back period become one."""

    MEAN = "mean"
    MAX = "max"
    MIN = "min"


class AutoscalingContext:
    """What an autoscaling policy is told.

    Attributes:
        deployment_id, deployment_name, app_name: whom it is about.
        current_num_replicas: replicas that run.
        target_num_replicas: replicas there are to be until now.
        running_replicas: their ids.
        capacity_adjusted_min_replicas, capacity_adjusted_max_replicas: the bounds of the answer.
        policy_state: what the policy returned beside its last answer.
        last_scale_up_time, last_scale_down_time, current_time: seconds of one clock; None: never.
        config: the `AutoscalingConfig`.
    """

    def __init__(
        self,
        deployment_id: DeploymentID,
        deployment_name: str,
        app_name: str | None,
        current_num_replicas: int,
        target_num_replicas: int,
        running_replicas: list[ReplicaID],
        total_num_requests: float | Callable[[], float],
        total_queued_requests: float | Callable[[], float] | None,
        aggregated_metrics: Any,
        raw_metrics: Any,
        capacity_adjusted_min_replicas: int,
        capacity_adjusted_max_replicas: int,
        policy_state: dict[str, Any],
        last_scale_up_time: float | None,
        last_scale_down_time: float | None,
        current_time: float | None,
        config: Any,
    ) -> None:
        self.deployment_id = deployment_id
        self.deployment_name = deployment_name
        self.app_name = app_name
        self.current_num_replicas = current_num_replicas
        self.target_num_replicas = target_num_replicas
        self.running_replicas = running_replicas
        self._total = total_num_requests
        self._queued = total_queued_requests
        self._aggregated = aggregated_metrics
        self._raw = raw_metrics
        self.capacity_adjusted_min_replicas = capacity_adjusted_min_replicas
        self.capacity_adjusted_max_replicas = capacity_adjusted_max_replicas
        self.policy_state = policy_state
        self.last_scale_up_time = last_scale_up_time
        self.last_scale_down_time = last_scale_down_time
        self.current_time = current_time
        self.config = config

    @property
    def total_num_requests(self) -> float:
        """Requests that run and wait."""
        return self._total() if callable(self._total) else self._total

    @property
    def total_queued_requests(self) -> float | None:
        """Requests that wait in proxies and handles."""
        return self._queued() if callable(self._queued) else self._queued

    @property
    def total_running_requests(self) -> float:
        """Requests that replicas run."""
        return self.total_num_requests - (self.total_queued_requests or 0)

    @property
    def aggregated_metrics(self) -> Any:
        """Custom metrics by name and replica, aggregated."""
        return self._aggregated() if callable(self._aggregated) else self._aggregated

    @property
    def raw_metrics(self) -> Any:
        """Custom metrics by name and replica, as they came."""
        return self._raw() if callable(self._raw) else self._raw


class AutoscalingPolicy(Model):
    """The function, or class, that decides on the number of replicas."""

    policy_function: str | Callable[..., Any] = _DEFAULT_POLICY
    policy_kwargs: dict[str, Any] = Field(default_factory=dict)
    _serialized: bytes | None = PrivateAttr(default=None)

    @field_validator("policy_kwargs")
    @classmethod
    def policy_kwargs_json_serializable(cls, v: dict[str, Any]) -> dict[str, Any]:
        """Keyword arguments of a policy class must be JSON."""
        return _check_json(v, "policy_kwargs")

    def model_post_init(self, context: Any, /) -> None:
        """A function is named by where it can be imported from, and kept pickled."""
        super().model_post_init(context)
        if callable(self.policy_function):
            self._serialized = _pickled(self.policy_function)
            self.policy_function = f"{self.policy_function.__module__}:{self.policy_function.__qualname__}"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, AutoscalingPolicy)
            and self.policy_function == other.policy_function
            and self.policy_kwargs == other.policy_kwargs
        )

    __hash__ = None  # type: ignore[assignment]

    def is_default_policy_function(self) -> bool:
        """Whether it is the policy of queue lengths."""
        return self.policy_function == _DEFAULT_POLICY

    def serialize_policy(self) -> None:
        """Import the policy and keep it pickled."""
        if self._serialized is None:
            self._serialized = _pickled(import_attr(str(self.policy_function)))

    def get_policy(self) -> Callable[..., Any]:
        """The function."""
        from narke import cloudpickle

        if self._serialized is not None:
            return cloudpickle.loads(self._serialized)  # type: ignore[no-any-return]
        return import_attr(str(self.policy_function))  # type: ignore[no-any-return]

    def get_serialized_policy_def(self) -> bytes | None:
        """The pickled function, if there is one."""
        return self._serialized

    def set_serialized_policy_def(self, serialized_policy_def: bytes) -> None:
        """Use a pickled function."""
        self._serialized = serialized_policy_def

    @classmethod
    def from_serialized_policy_def(
        cls, policy_config: dict[str, Any], serialized_policy_def: bytes
    ) -> AutoscalingPolicy:
        """Fields together with a pickled function."""
        policy = cls(**policy_config)
        policy._serialized = serialized_policy_def
        return policy


class AutoscalingConfig(Model):
    """How the number of a deployment's replicas follows its requests.

    Times are in seconds. ``upscaling_factor`` and ``downscaling_factor`` damp (below 1) or amplify (above 1) changes.
    """

    model_config = ConfigDict(extra="ignore")

    min_replicas: NonNegativeInt = 1
    initial_replicas: NonNegativeInt | None = None
    max_replicas: PositiveInt = 1
    target_ongoing_requests: PositiveFloat | None = 2
    metrics_interval_s: PositiveFloat = DEFAULT_METRICS_INTERVAL_S
    look_back_period_s: PositiveFloat = 30.0
    smoothing_factor: PositiveFloat = 1.0
    upscale_smoothing_factor: PositiveFloat | None = None
    downscale_smoothing_factor: PositiveFloat | None = None
    upscaling_factor: PositiveFloat | None = None
    downscaling_factor: PositiveFloat | None = None
    downscale_delay_s: NonNegativeFloat = 600.0
    downscale_to_zero_delay_s: NonNegativeFloat | None = None
    upscale_delay_s: NonNegativeFloat = 30.0
    aggregation_function: str | AggregationFunction = AggregationFunction.MEAN
    policy: AutoscalingPolicy = Field(default_factory=AutoscalingPolicy)

    @model_validator(mode="before")
    @classmethod
    def _take_old_names(cls, values: Any) -> Any:
        if isinstance(values, dict) and "target_num_ongoing_requests_per_replica" in values:
            values = dict(values)
            values.setdefault(
                "target_ongoing_requests", values.pop("target_num_ongoing_requests_per_replica")
            )
        return values

    @model_validator(mode="after")
    def replicas_settings_valid(self) -> AutoscalingConfig:
        """min <= initial <= max."""
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas ({self.min_replicas}) must be less than or equal to max_replicas ({self.max_replicas})!"
            )
        initial = self.initial_replicas
        if initial is not None and not self.min_replicas <= initial <= self.max_replicas:
            raise ValueError(
                f"initial_replicas ({initial}) must lie between min_replicas ({self.min_replicas}) and max_replicas "
                f"({self.max_replicas})!"
            )
        return self

    @field_validator("aggregation_function")
    @classmethod
    def aggregation_function_valid(cls, v: Any) -> AggregationFunction:
        """One of AggregationFunction."""
        if isinstance(v, AggregationFunction):
            return v
        return AggregationFunction(str(v).lower())

    @field_validator("metrics_interval_s")
    @classmethod
    def metrics_interval_s_deprecation_warning(cls, v: float) -> float:
        """Any positive number of seconds."""
        return v

    @field_validator("look_back_period_s")
    @classmethod
    def look_back_period_s_valid(cls, v: float, info: Any) -> float:
        """Any positive number of seconds."""
        return v

    @classmethod
    def default(cls) -> AutoscalingConfig:
        """What ``num_replicas="auto"`` stands for."""
        return cls(target_ongoing_requests=2, min_replicas=1, max_replicas=100)

    def get_upscaling_factor(self) -> float:
        """The factor of growth."""
        return self.upscaling_factor or self.upscale_smoothing_factor or self.smoothing_factor

    def get_downscaling_factor(self) -> float:
        """The factor of shrinking."""
        return self.downscaling_factor or self.downscale_smoothing_factor or self.smoothing_factor

    def get_target_ongoing_requests(self) -> float:
        """Requests each replica should have."""
        return self.target_ongoing_requests or 2


class BackpressureConfig(Model):
    """How requests are answered that would be too many in the queue."""

    status_code: Literal[503, 429] = 503
    retry_after_s: NonNegativeFloat | None = None


class RequestRouterConfig(Model):
    """Which class chooses replicas for requests of handles, and how it waits."""

    request_router_class: str | Callable[..., Any] = _DEFAULT_ROUTER
    request_router_kwargs: dict[str, Any] = Field(default_factory=dict)
    request_routing_stats_period_s: PositiveFloat = 10
    request_routing_stats_timeout_s: PositiveFloat = 30
    initial_backoff_s: PositiveFloat = 0.025
    backoff_multiplier: PositiveFloat = 2
    max_backoff_s: PositiveFloat = 0.5
    _serialized: bytes | None = PrivateAttr(default=None)

    @field_validator("request_router_kwargs")
    @classmethod
    def request_router_kwargs_json_serializable(cls, v: dict[str, Any]) -> dict[str, Any]:
        """Keyword arguments of the router must be JSON."""
        return _check_json(v, "request_router_kwargs")

    def model_post_init(self, context: Any, /) -> None:
        """A class is named by where it can be imported from, and kept pickled."""
        super().model_post_init(context)
        if callable(self.request_router_class):
            self._serialized = _pickled(self.request_router_class)
            self.request_router_class = (
                f"{self.request_router_class.__module__}:{self.request_router_class.__qualname__}"
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RequestRouterConfig) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]

    def is_default_request_router(self) -> bool:
        """Whether it is the power of two choices."""
        return self.request_router_class == _DEFAULT_ROUTER

    def get_request_router_class(self) -> Any:
        """The class."""
        from narke import cloudpickle

        if self._serialized is not None:
            return cloudpickle.loads(self._serialized)
        if self.is_default_request_router():
            from narke.serve.request_router import RequestRouter

            return RequestRouter
        return import_attr(str(self.request_router_class))

    def get_serialized_request_router_cls(self) -> bytes | None:
        """The pickled class, if there is one."""
        return self._serialized

    def set_serialized_request_router_cls(self, serialized_request_router_cls: bytes) -> None:
        """Use a pickled class."""
        self._serialized = serialized_request_router_cls

    @classmethod
    def from_serialized_request_router_cls(
        cls, request_router_config: dict[str, Any], serialized_request_router_cls: bytes
    ) -> RequestRouterConfig:
        """Fields together with a pickled class."""
        config = cls(**request_router_config)
        config._serialized = serialized_request_router_cls
        return config


class GangPlacementStrategy(str, enum.Enum):
    """Where a gang's replicas go."""

    PACK = "PACK"
    SPREAD = "SPREAD"


class GangRuntimeFailurePolicy(str, enum.Enum):
    """What the end of one replica means for its gang."""

    RESTART_GANG = "RESTART_GANG"
    RESTART_REPLICA = "RESTART_REPLICA"


class GangSchedulingConfig(Model):
    """Replicas in gangs that start together."""

    gang_size: PositiveInt
    gang_placement_strategy: GangPlacementStrategy = GangPlacementStrategy.PACK
    runtime_failure_policy: GangRuntimeFailurePolicy = GangRuntimeFailurePolicy.RESTART_GANG


class DeploymentActorConfig(Model):
    """An actor that a deployment's replicas share."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str
    actor_class: Any
    init_args: tuple[Any, ...] = Field(default_factory=tuple)
    init_kwargs: dict[str, Any] = Field(default_factory=dict)
    actor_options: dict[str, Any] = Field(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Nothing more is to be done."""
        super().model_post_init(context)

    def get_actor_class(self) -> Any:
        """The class, imported if it was given by name."""
        found = import_attr(self.actor_class) if isinstance(self.actor_class, str) else self.actor_class
        return found.__ray_metadata__.modified_class if hasattr(found, "__ray_metadata__") else found


class ProxyLocation(str, enum.Enum):
    """Which nodes have a proxy."""

    Disabled = "Disabled"
    HeadOnly = "HeadOnly"
    EveryNode = "EveryNode"

    @classmethod
    def _normalize(cls, value: ProxyLocation | str | None) -> ProxyLocation:
        if value is None:
            return cls.Disabled
        if isinstance(value, cls):
            return value
        old = {"NoServer": cls.Disabled, "HeadOnly": cls.HeadOnly, "EveryNode": cls.EveryNode}
        if value in old:
            return old[value]
        return cls(value)


class HTTPOptions(Model):
    """Where and how HTTP is served."""

    host: str | None = "127.0.0.1"
    port: int = 8000
    middlewares: list[Any] = Field(default_factory=list)
    location: ProxyLocation | None = None
    num_cpus: NonNegativeInt = 0
    root_url: str = ""
    root_path: str = ""
    request_timeout_s: float | None = None
    keep_alive_timeout_s: int = 90
    ssl_keyfile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile_password: str | None = None
    ssl_ca_certs: str | None = None

    @field_validator("location", mode="before")
    @classmethod
    def normalize_location(cls, v: Any) -> Any:
        """Old names are taken."""
        return v if v is None else ProxyLocation._normalize(v)

    @model_validator(mode="after")
    def location_backfill_no_server(self) -> HTTPOptions:
        """No host: no proxies."""
        if self.host is None:
            self.location = ProxyLocation.Disabled
        return self

    @field_validator("middlewares")
    @classmethod
    def raise_for_middlewares_assignment(cls, v: list[Any]) -> list[Any]:
        """The proxy runs no Python."""
        if v:
            raise ValueError(
                "`middlewares` is not supported: the proxy runs no Python. Add them to the ASGI app of the "
                "ingress deployment."
            )
        return v

    @field_validator("num_cpus")
    @classmethod
    def raise_for_num_cpus_assignment(cls, v: int) -> int:
        """CPUs that a proxy reserves."""
        return v

    @field_validator("ssl_certfile")
    @classmethod
    def validate_ssl_certfile(cls, v: str | None, info: Any) -> str | None:
        """Key and certificate go together."""
        return check_ssl_certfile(v, info)


def check_ssl_certfile(certfile: str | None, info: Any) -> str | None:
    """Key and certificate go together."""
    key = info.data.get("ssl_keyfile")
    if (key is None) != (certfile is None):
        raise ValueError(
            f"Both ssl_keyfile and ssl_certfile must be provided together. Got ssl_keyfile={key}, "
            f"ssl_certfile={certfile}."
        )
    return certfile


class gRPCOptions(Model):
    """Where and how gRPC is served."""

    port: int = 9000
    grpc_servicer_functions: list[str] = Field(default_factory=list)
    request_timeout_s: float | None = None
    enable_reflection: bool = True

    @property
    def grpc_servicer_func_callable(self) -> list[Callable[..., Any]]:
        """The functions, imported."""
        return [import_attr(path) for path in self.grpc_servicer_functions]


class ControllerOptions(Model):
    """Options of the controller's actor."""

    runtime_env: dict[str, Any] | None = None
