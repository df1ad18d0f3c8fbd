"""Shapes of Serve's config files, of its REST API and of its status, with their checks."""

from __future__ import annotations

import dataclasses
import enum
import logging
import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)

from narke.serve._private.common import (
    DEFAULT,
    ApplicationStatus,
    DeploymentStatus,
    DeploymentStatusTrigger,
    ReplicaState,
    RequestProtocol,
)
from narke.serve.config import (
    AutoscalingConfig,
    BackpressureConfig,
    ControllerOptions,
    DeploymentActorConfig,
    GangSchedulingConfig,
    ProxyLocation,
    RequestRouterConfig,
    check_ssl_certfile,
)

__all__ = [
    "APIType",
    "ApplicationDetails",
    "ApplicationStatus",
    "ApplicationStatusOverview",
    "AutoscalingMetricsHealth",
    "AutoscalingStatus",
    "CeleryAdapterConfig",
    "ControllerHealthMetrics",
    "DeploymentAutoscalingDetail",
    "DeploymentDetails",
    "DeploymentNode",
    "DeploymentSchema",
    "DeploymentStatusOverview",
    "DeploymentTopology",
    "DurationStats",
    "EncodingType",
    "HTTPOptionsSchema",
    "LoggingConfig",
    "ProxyDetails",
    "ProxyStatus",
    "RayActorOptionsSchema",
    "ReplicaDetails",
    "ReplicaRank",
    "ScaleDeploymentRequest",
    "ScalingDecision",
    "ServeActorDetails",
    "ServeApplicationSchema",
    "ServeDeploySchema",
    "ServeInstanceDetails",
    "ServeStatus",
    "Target",
    "TargetGroup",
    "TaskProcessorAdapter",
    "TaskProcessorConfig",
    "TaskResult",
    "TracingConfig",
    "gRPCOptionsSchema",
]


class EncodingType(str, enum.Enum):
    """How log lines look."""

    TEXT = "TEXT"
    JSON = "JSON"


class LoggingConfig(BaseModel):
    """How replicas, proxies and the controller log."""

    model_config = ConfigDict(extra="forbid")

    encoding: str | EncodingType = Field(default_factory=lambda: EncodingType.TEXT)
    log_level: int | str = "INFO"
    logs_dir: str | None = None
    enable_access_log: bool = True
    additional_log_standard_attrs: list[str] = Field(default_factory=list)

    @field_validator("encoding")
    @classmethod
    def valid_encoding_format(cls, v: Any) -> Any:
        """TEXT or JSON."""
        if v not in list(EncodingType):
            raise ValueError(f"Got '{v}' for encoding. Encoding must be one of {set(EncodingType)}.")
        return v

    @field_validator("log_level")
    @classmethod
    def valid_log_level(cls, v: Any) -> Any:
        """A level of `logging`, by name or number."""
        if isinstance(v, int):
            v = logging.getLevelName(v)
        if not isinstance(v, str) or not isinstance(logging.getLevelName(v.upper()), int):
            raise ValueError(
                f'Got "{v}" for log_level. log_level must be one of the levels of Python\'s logging.'
            )
        return v.upper()

    @field_validator("additional_log_standard_attrs")
    @classmethod
    def valid_additional_log_standard_attrs(cls, v: list[str]) -> list[str]:
        """Attributes of every log record."""
        known = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
        unknown = set(v) - known
        if unknown:
            raise ValueError(
                f"Unknown attributes {sorted(unknown)} in additional_log_standard_attrs; known are {sorted(known)}"
            )
        return sorted(set(v))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LoggingConfig) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]


class TracingConfig(BaseModel):
    """Whether and where requests are traced."""

    enabled: bool = Field(default_factory=lambda: False)
    exporter_import_path: str = Field(default_factory=str)
    sampling_ratio: float = Field(default_factory=lambda: 1.0)

    @field_validator("sampling_ratio")
    @classmethod
    def validate_sampling_ratio(cls, v: float) -> float:
        """Between 0 and 1."""
        if not 0 <= v <= 1:
            raise ValueError(f"sampling_ratio must be between 0.0 and 1.0, got {v}")
        return v


class RayActorOptionsSchema(BaseModel):
    """Options of a replica's actor."""

    model_config = ConfigDict(extra="forbid")

    runtime_env: dict[str, Any] = {}
    num_cpus: float | None = Field(default=None, ge=0)
    num_gpus: float | None = Field(default=None, ge=0)
    memory: float | None = Field(default=None, ge=0)
    resources: dict[str, Any] = {}
    accelerator_type: str | None = None
    label_selector: dict[str, str] | None = None
    fallback_strategy: list[dict[str, Any]] | None = None

    @field_validator("runtime_env")
    @classmethod
    def runtime_env_contains_remote_uris(cls, v: dict[str, Any] | None) -> dict[str, Any]:
        """Folders of one machine mean nothing to a config that others read."""
        return _check_remote(v or {})

    @field_validator("label_selector")
    @classmethod
    def label_selector_is_valid(cls, v: dict[str, str] | None) -> dict[str, str] | None:
        """Names to values."""
        return v


def _check_remote(env: dict[str, Any]) -> dict[str, Any]:
    for uri in [env.get("working_dir"), *(env.get("py_modules") or ())]:
        if uri is not None and "://" not in str(uri):
            raise ValueError(
                f"runtime_envs in the Serve config support only remote URIs in working_dir and py_modules. Got {uri!r}."
            )
    return env


class DeploymentSchema(BaseModel):
    """Options of one deployment in a config file; those not given are left as the code has them."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    name: str
    num_replicas: PositiveInt | str | None | Any = DEFAULT.VALUE
    max_ongoing_requests: int | Any = DEFAULT.VALUE
    max_queued_requests: int | Any = DEFAULT.VALUE
    backpressure_config: BackpressureConfig | Any = DEFAULT.VALUE
    user_config: dict[str, Any] | None | Any = DEFAULT.VALUE
    autoscaling_config: dict[str, Any] | AutoscalingConfig | None | Any = DEFAULT.VALUE
    graceful_shutdown_wait_loop_s: float | Any = DEFAULT.VALUE
    graceful_shutdown_timeout_s: float | Any = DEFAULT.VALUE
    health_check_period_s: float | Any = DEFAULT.VALUE
    health_check_timeout_s: float | Any = DEFAULT.VALUE
    ray_actor_options: RayActorOptionsSchema | Any = DEFAULT.VALUE
    placement_group_bundles: list[dict[str, float]] | Any = DEFAULT.VALUE
    placement_group_strategy: str | Any = DEFAULT.VALUE
    placement_group_bundle_label_selector: list[dict[str, str]] | Any = DEFAULT.VALUE
    max_replicas_per_node: int | Any = DEFAULT.VALUE
    logging_config: LoggingConfig | Any = DEFAULT.VALUE
    request_router_config: dict[str, Any] | RequestRouterConfig | Any = DEFAULT.VALUE
    gang_scheduling_config: dict[str, Any] | GangSchedulingConfig | None | Any = DEFAULT.VALUE
    deployment_actors: list[dict[str, Any] | DeploymentActorConfig] | None | Any = DEFAULT.VALUE
    rolling_update_percentage: float | Any = DEFAULT.VALUE
    max_surge_percent: int | Any = DEFAULT.VALUE

    @field_validator("*", mode="before")
    @classmethod
    def _parse(cls, v: Any, info: Any) -> Any:
        model = _MODELS.get(info.field_name)
        return model.model_validate(v) if model is not None and isinstance(v, dict) else v

    @field_validator("max_ongoing_requests")
    @classmethod
    def _positive(cls, v: Any) -> Any:
        if v is not DEFAULT.VALUE and (not isinstance(v, int) or v < 1):
            raise ValueError(f"max_ongoing_requests must be a positive integer, got {v!r}")
        return v

    @field_validator("max_queued_requests")
    @classmethod
    def validate_max_queued_requests(cls, v: Any) -> Any:
        """-1 or positive."""
        if v is not DEFAULT.VALUE and (not isinstance(v, int) or (v < 1 and v != -1)):
            raise ValueError("max_queued_requests must be -1 (no limit) or a positive integer.")
        return v

    @field_validator(
        "graceful_shutdown_wait_loop_s",
        "graceful_shutdown_timeout_s",
        "health_check_period_s",
        "health_check_timeout_s",
    )
    @classmethod
    def _seconds(cls, v: Any, info: Any) -> Any:
        if v is not DEFAULT.VALUE and (isinstance(v, bool) or not isinstance(v, (int, float)) or v < 0):
            raise ValueError(f"{info.field_name} must be a number of seconds, got {v!r}")
        return v

    @model_validator(mode="after")
    def validate_num_replicas_and_autoscaling_config(self) -> DeploymentSchema:
        """A number of replicas and autoscaling exclude each other."""
        count, scaling = self.num_replicas, self.autoscaling_config
        if isinstance(count, str) and count != "auto":
            raise ValueError(f'num_replicas must be an integer or "auto", got {count!r}')
        if isinstance(count, int) and not isinstance(count, bool) and count < 1:
            raise ValueError(f"num_replicas must be positive, got {count}")
        if isinstance(count, int) and scaling not in (DEFAULT.VALUE, None):
            raise ValueError(
                "Manually setting num_replicas is not allowed when autoscaling_config is provided."
            )
        return self

    @model_validator(mode="after")
    def validate_max_replicas_per_node_and_placement_group_bundles(self) -> DeploymentSchema:
        """Both limit where replicas go."""
        if _is_set(self.max_replicas_per_node) and _is_set(self.placement_group_bundles):
            raise ValueError(
                "Setting max_replicas_per_node is not allowed when placement_group_bundles is provided."
            )
        return self

    @model_validator(mode="after")
    def validate_bundle_label_selector(self) -> DeploymentSchema:
        """Selectors belong to bundles."""
        selector = self.placement_group_bundle_label_selector
        if _is_set(selector) and not _is_set(self.placement_group_bundles):
            raise ValueError("Setting placement_group_bundle_label_selector needs placement_group_bundles.")
        return self

    @model_validator(mode="after")
    def validate_gang_scheduling_config(self) -> DeploymentSchema:
        """Whole gangs only."""
        gang = self.gang_scheduling_config
        if _is_set(gang) and isinstance(self.num_replicas, int):
            size = GangSchedulingConfig.model_validate(gang).gang_size
            if self.num_replicas % size:
                raise ValueError(
                    f"num_replicas ({self.num_replicas}) must be a multiple of gang_size ({size})."
                )
        return self

    @model_validator(mode="after")
    def validate_max_replicas_per_node_and_gang_scheduling_config(self) -> DeploymentSchema:
        """Both limit where replicas go."""
        if _is_set(self.max_replicas_per_node) and _is_set(self.gang_scheduling_config):
            raise ValueError(
                "Setting max_replicas_per_node is not allowed when gang_scheduling_config is provided."
            )
        return self

    @model_validator(mode="after")
    def validate_placement_group_strategy_and_gang_scheduling_config(self) -> DeploymentSchema:
        """A gang has its own strategy."""
        if _is_set(self.placement_group_strategy) and _is_set(self.gang_scheduling_config):
            raise ValueError(
                "Setting placement_group_strategy is not allowed when gang_scheduling_config is provided."
            )
        return self

    def is_autoscaling_configured(self) -> bool:
        """Whether the number of replicas follows the requests."""
        return self.num_replicas == "auto" or _is_set(self.autoscaling_config)

    def given(self) -> dict[str, Any]:
        """The options that were given."""
        return {
            name: getattr(self, name)
            for name in type(self).model_fields
            if name != "name" and getattr(self, name) is not DEFAULT.VALUE
        }


def _is_set(value: Any) -> bool:
    return value is not DEFAULT.VALUE and value is not None


_MODELS: dict[str, Any] = {
    "backpressure_config": BackpressureConfig,
    "ray_actor_options": RayActorOptionsSchema,
    "logging_config": LoggingConfig,
    "autoscaling_config": AutoscalingConfig,
    "request_router_config": RequestRouterConfig,
    "gang_scheduling_config": GangSchedulingConfig,
}


def check_route_prefix(prefix: str | None) -> str | None:
    """A route prefix that is possible.

    Raises:
        ValueError: it does not begin with a slash, ends with one, or holds a wildcard.
    """
    if prefix is None:
        return None
    if not prefix.startswith("/"):
        raise ValueError(f'Got "{prefix}" for route_prefix. Route prefix must start with "/".')
    if prefix != "/" and prefix.endswith("/"):
        raise ValueError(
            f'Got "{prefix}" for route_prefix. Route prefix cannot end with "/" unless the route is just "/".'
        )
    if "{" in prefix or "}" in prefix:
        raise ValueError(f'Got "{prefix}" for route_prefix. Route prefix cannot contain wildcards.')
    return prefix


class ServeApplicationSchema(BaseModel):
    """One application of a config file."""

    model_config = ConfigDict(extra="forbid")

    name: str = "default"
    route_prefix: str | None = "/"
    import_path: str
    runtime_env: dict[str, Any] = {}
    host: str = "0.0.0.0"
    port: int = 8000
    deployments: list[DeploymentSchema] = []
    autoscaling_policy: dict[str, Any] | None = None
    args: dict[str, Any] = {}
    logging_config: LoggingConfig | None = None
    external_scaler_enabled: bool = False

    @property
    def deployment_names(self) -> list[str]:
        """Names of the deployments whose options are given."""
        return [deployment.name for deployment in self.deployments]

    @field_validator("runtime_env")
    @classmethod
    def runtime_env_contains_remote_uris(cls, v: dict[str, Any] | None) -> dict[str, Any]:
        """Folders of one machine mean nothing to a config that others read."""
        return _check_remote(v or {})

    @field_validator("import_path")
    @classmethod
    def import_path_format_valid(cls, v: str) -> str:
        """module:attribute or module.attribute."""
        if not isinstance(v, str) or ("." not in v and ":" not in v) or v.count(":") > 1:
            raise ValueError(
                f'Got invalid import path "{v}": it must be of the form "module.submodule:app" or '
                '"module.submodule.app".'
            )
        if not all(v.replace(":", ".").split(".")):
            raise ValueError(f'Got invalid import path "{v}": a part of it is empty.')
        return v

    @field_validator("route_prefix")
    @classmethod
    def _route_prefix_format(cls, v: str | None) -> str | None:
        return check_route_prefix(v)

    @field_validator("autoscaling_policy", mode="before")
    @classmethod
    def convert_autoscaling_policy_to_dict(cls, v: Any) -> Any:
        """A model is taken apart."""
        return v.model_dump() if isinstance(v, BaseModel) else v

    @model_validator(mode="after")
    def validate_external_scaler_and_autoscaling(self) -> ServeApplicationSchema:
        """Either the requests or somebody outside scales."""
        scaled = [d.name for d in self.deployments if d.is_autoscaling_configured()]
        if self.external_scaler_enabled and scaled:
            raise ValueError(f"external_scaler_enabled is True, but the deployments {scaled} are autoscaled.")
        return self

    @staticmethod
    def get_empty_schema_dict() -> dict[str, Any]:
        """What is shown where there is no application."""
        return {"deployments": []}


class HTTPOptionsSchema(BaseModel):
    """HTTP options of a config file."""

    model_config = ConfigDict(extra="forbid")

    host: str = "0.0.0.0"
    port: int = 8000
    root_path: str = ""
    request_timeout_s: float | None = None
    keep_alive_timeout_s: int = 90
    ssl_keyfile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile_password: str | None = None
    ssl_ca_certs: str | None = None

    @field_validator("ssl_certfile")
    @classmethod
    def validate_ssl_certfile(cls, v: str | None, info: Any) -> str | None:
        """Key and certificate go together."""
        return check_ssl_certfile(v, info)


class gRPCOptionsSchema(BaseModel):
    """gRPC options of a config file."""

    model_config = ConfigDict(extra="forbid")

    port: int = 9000
    grpc_servicer_functions: list[str] = []
    request_timeout_s: float | None = None
    enable_reflection: bool = True


class ServeDeploySchema(BaseModel):
    """A config file: applications, and how they are served."""

    model_config = ConfigDict(extra="forbid")

    proxy_location: ProxyLocation = ProxyLocation.EveryNode
    http_options: HTTPOptionsSchema = HTTPOptionsSchema()
    grpc_options: gRPCOptionsSchema = gRPCOptionsSchema()
    controller_options: ControllerOptions | None = None
    logging_config: LoggingConfig | None = None
    tracing_config: TracingConfig | None = None
    applications: list[ServeApplicationSchema]
    target_capacity: float | None = Field(default=None, ge=0, le=100)

    @field_validator("applications")
    @classmethod
    def application_names_unique(cls, v: list[ServeApplicationSchema]) -> list[ServeApplicationSchema]:
        """Each application has a name of its own."""
        names = [app.name for app in v]
        twice = sorted({f'"{name}"' for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"Found multiple configs for application(s) {', '.join(twice)}. Please remove all duplicates."
            )
        return v

    @field_validator("applications")
    @classmethod
    def application_routes_unique(cls, v: list[ServeApplicationSchema]) -> list[ServeApplicationSchema]:
        """Each application has a route of its own."""
        routes = [app.route_prefix for app in v if app.route_prefix is not None]
        twice = sorted({f'"{route}"' for route in routes if routes.count(route) > 1})
        if twice:
            raise ValueError(
                f"Found duplicate applications for route prefix(es) {', '.join(twice)}. Please ensure each "
                "application's route_prefix is unique."
            )
        return v

    @field_validator("applications")
    @classmethod
    def application_names_nonempty(cls, v: list[ServeApplicationSchema]) -> list[ServeApplicationSchema]:
        """Each application has a name."""
        if any(not app.name for app in v):
            raise ValueError("Application names must be nonempty.")
        return v

    @model_validator(mode="after")
    def nested_host_and_port(self) -> ServeDeploySchema:
        """Host and port are the same for all applications."""
        for app in self.applications:
            for name in ("host", "port"):
                if name in app.model_fields_set:
                    raise ValueError(
                        f'Host "{getattr(app, name)}" is set in the config for application "{app.name}". Please '
                        "remove it "
                        "and set host and port in the top level deploy config only."
                    )
        return self

    @staticmethod
    def get_empty_schema_dict() -> dict[str, Any]:
        """What is shown where nothing was deployed by a config."""
        return {"applications": []}


# ---- status ----


@dataclasses.dataclass
class DeploymentStatusOverview:
    """A deployment's state.

    Attributes:
        status, status_trigger: what it is, and what last changed it.
        replica_states: number of replicas by state.
        message: for people.
    """

    status: DeploymentStatus
    status_trigger: DeploymentStatusTrigger
    replica_states: dict[ReplicaState, int]
    message: str


@dataclasses.dataclass
class ApplicationStatusOverview:
    """An application's state.

    Attributes:
        status: what it is.
        message: for people.
        last_deployed_time_s: seconds since the epoch.
        deployments: by name.
    """

    status: ApplicationStatus
    message: str
    last_deployed_time_s: float
    deployments: dict[str, DeploymentStatusOverview]


class ProxyStatus(str, enum.Enum):
    """A proxy's state."""

    STARTING = "STARTING"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DRAINING = "DRAINING"
    DRAINED = "DRAINED"

    def to_numeric(self) -> int:
        """As metrics show it; 0 is unknown."""
        return list(ProxyStatus).index(self) + 1


@dataclasses.dataclass
class ServeStatus:
    """What `narke.serve.status` gives.

    Attributes:
        proxies: by node id.
        applications: by name.
        target_capacity: percentage of the replicas that are wanted, or None.
    """

    proxies: dict[str, ProxyStatus] = dataclasses.field(default_factory=dict)
    applications: dict[str, ApplicationStatusOverview] = dataclasses.field(default_factory=dict)
    target_capacity: float | None = None


# ---- details, as the REST API shows them ----


class ServeActorDetails(BaseModel):
    """Where an actor of Serve is."""

    node_id: str | None = None
    node_ip: str | None = None
    node_instance_id: str | None = None
    actor_id: str | None = None
    actor_name: str | None = None
    worker_id: str | None = None
    log_file_path: str | None = None


class ReplicaDetails(ServeActorDetails):
    """One replica."""

    replica_id: str
    state: ReplicaState
    pid: int | None = None
    start_time_s: float


class ReplicaRank(BaseModel):
    """A replica's place: among all, its node's place, and its place on the node."""

    rank: int
    node_rank: int
    local_rank: int


class AutoscalingMetricsHealth(str, enum.Enum):
    """Whether the numbers that decisions rest on are fresh."""

    HEALTHY = "healthy"
    DELAYED = "delayed"
    UNAVAILABLE = "unavailable"


class AutoscalingStatus(str, enum.Enum):
    """Where the number of replicas is going."""

    UPSCALING = "UPSCALING"
    DOWNSCALING = "DOWNSCALING"
    STABLE = "STABLE"


class ScalingDecision(BaseModel):
    """One change of a number of replicas."""

    timestamp_s: float
    reason: str
    prev_num_replicas: NonNegativeInt
    curr_num_replicas: NonNegativeInt
    policy: str | None = None


class DeploymentAutoscalingDetail(BaseModel):
    """What autoscaling does for a deployment."""

    scaling_status: AutoscalingStatus
    decisions: list[ScalingDecision] = Field(default_factory=list)
    metrics: dict[str, Any] | None = None
    metrics_health: AutoscalingMetricsHealth = AutoscalingMetricsHealth.HEALTHY
    errors: list[str] = Field(default_factory=list)


class DeploymentDetails(BaseModel):
    """One deployment."""

    name: str
    status: DeploymentStatus
    status_trigger: DeploymentStatusTrigger
    message: str
    deployment_config: DeploymentSchema
    target_num_replicas: NonNegativeInt
    required_resources: dict[str, Any]
    replicas: list[ReplicaDetails]
    recent_dead_replicas: list[ReplicaDetails] = Field(default_factory=list)
    autoscaling_detail: DeploymentAutoscalingDetail | None = None


class APIType(str, enum.Enum):
    """How an application was deployed."""

    UNKNOWN = "unknown"
    IMPERATIVE = "imperative"
    DECLARATIVE = "declarative"

    @classmethod
    def get_valid_user_values(cls) -> list[str]:
        """Those that a request may ask for."""
        return [cls.IMPERATIVE.value, cls.DECLARATIVE.value]


class DeploymentNode(BaseModel):
    """A deployment in its application's graph."""

    name: str
    app_name: str
    outbound_deployments: list[dict[str, Any]] = Field(default_factory=list)
    is_ingress: bool = False


class DeploymentTopology(BaseModel):
    """Which deployments of an application call which."""

    app_name: str
    nodes: dict[str, DeploymentNode]
    ingress_deployment: str | None = None


class ApplicationDetails(BaseModel):
    """One application."""

    name: str
    route_prefix: str | None
    docs_path: str | None
    status: ApplicationStatus
    message: str
    last_deployed_time_s: float
    deployed_app_config: ServeApplicationSchema | None = None
    source: APIType
    deployments: dict[str, DeploymentDetails]
    external_scaler_enabled: bool
    deployment_topology: DeploymentTopology | None = None

    @field_validator("route_prefix")
    @classmethod
    def application_details_route_prefix_format(cls, v: str | None) -> str | None:
        """A possible prefix."""
        return check_route_prefix(v)


class ProxyDetails(ServeActorDetails):
    """One proxy."""

    status: ProxyStatus


class Target(BaseModel):
    """Somewhere that serves requests."""

    ip: str
    port: int
    instance_id: str
    name: str


class TargetGroup(BaseModel):
    """Targets for the requests of one route."""

    targets: list[Target]
    route_prefix: str
    protocol: RequestProtocol
    app_name: str = ""
    ingress_request_router_targets: list[Target] = Field(default_factory=list)
    ingress_deployment_name: str = ""


class DurationStats(BaseModel):
    """Spread of durations."""

    mean: float = 0.0
    std: float = 0.0
    min: float = 0.0
    max: float = 0.0

    @classmethod
    def from_values(cls, values: list[float]) -> DurationStats:
        """Of some durations."""
        if not values:
            return cls()
        return cls(
            mean=statistics.fmean(values), std=statistics.pstdev(values), min=min(values), max=max(values)
        )


class ControllerHealthMetrics(BaseModel):
    """How the controller is."""

    timestamp: float = 0.0
    controller_start_time: float = 0.0
    uptime_s: float = 0.0
    last_control_loop_time: float = 0.0
    num_control_loops: int = 0
    loop_duration_s: DurationStats | None = None
    loops_per_second: float = 0.0
    last_sleep_duration_s: float = 0.0
    expected_sleep_duration_s: float = 0.0
    event_loop_delay_s: float = 0.0
    num_asyncio_tasks: int = 0
    handle_ingest_duration_ms: DurationStats | None = None
    replica_ingest_duration_ms: DurationStats | None = None
    metrics_decompress_duration_ms: DurationStats | None = None
    columnar_decode_duration_ms: DurationStats | None = None
    handle_reports_received: int = 0
    replica_reports_received: int = 0
    ingest_reports_received: int = 0
    ingest_cpu_fraction: float = 0.0
    deployment_state_update_duration_s: DurationStats | None = None
    application_state_update_duration_s: DurationStats | None = None
    proxy_state_update_duration_s: DurationStats | None = None
    node_update_duration_s: DurationStats | None = None
    handle_metrics_delay_ms: DurationStats | None = None
    replica_metrics_delay_ms: DurationStats | None = None
    process_memory_mb: float = 0.0


class ServeInstanceDetails(BaseModel):
    """All of Serve on a cluster."""

    controller_info: ServeActorDetails = Field(default_factory=ServeActorDetails)
    proxy_location: ProxyLocation | None = None
    http_options: HTTPOptionsSchema | None = None
    grpc_options: gRPCOptionsSchema | None = None
    proxies: dict[str, ProxyDetails]
    applications: dict[str, ApplicationDetails]
    target_capacity: float | None = None
    target_groups: list[TargetGroup] = Field(default_factory=list)
    controller_health_metrics: ControllerHealthMetrics = Field(default_factory=ControllerHealthMetrics)
    restores_unset_config_options: bool = False

    @staticmethod
    def get_empty_schema_dict() -> dict[str, Any]:
        """What is shown where Serve does not run."""
        return {
            "deploy_mode": "MULTI_APP",
            "controller_info": {},
            "proxies": {},
            "applications": {},
            "target_capacity": None,
        }


class ScaleDeploymentRequest(BaseModel):
    """Asks for a number of replicas."""

    target_num_replicas: NonNegativeInt


# ---- task consumers ----


class CeleryAdapterConfig(BaseModel):
    """Where Celery finds its broker and results."""

    app_custom_config: dict[str, Any] | None = None
    task_custom_config: dict[str, Any] | None = None
    broker_url: str
    backend_url: str
    broker_transport_options: dict[str, Any] | None = None


class TaskProcessorConfig(BaseModel):
    """A queue of tasks and how it is worked on."""

    queue_name: str
    adapter: str | Callable[..., Any] = "ray.serve.task_processor.CeleryTaskProcessorAdapter"
    adapter_config: Any
    max_retries: int | None = 3
    failed_task_queue_name: str | None = None
    unprocessable_task_queue_name: str | None = None


class TaskResult(BaseModel):
    """What became of a task."""

    id: str
    status: str
    created_at: float | None = None
    result: Any


class TaskProcessorAdapter(ABC):
    """Between Serve and a task queue."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._arguments = args, kwargs

    @abstractmethod
    def initialize(self, consumer_concurrency: int = 5) -> None:
        """Connect to the queue."""

    @abstractmethod
    def register_task_handle(self, func: Callable[..., Any], name: str | None = None) -> None:
        """Have tasks of a name run a function."""

    @abstractmethod
    def enqueue_task_sync(
        self, task_name: str, args: Any = None, kwargs: Any = None, **options: Any
    ) -> TaskResult:
        """Put a task into the queue."""

    @abstractmethod
    def get_task_status_sync(self, task_id: str) -> TaskResult:
        """What became of a task."""

    @abstractmethod
    def start_consumer(self, **kwargs: Any) -> None:
        """Begin to work on the queue."""

    @abstractmethod
    def stop_consumer(self, timeout: float = 10.0) -> None:
        """Stop working; waits at most `timeout` seconds."""

    @abstractmethod
    def cancel_task_sync(self, task_id: str) -> bool:
        """Cancel a task; whether that was possible."""

    @abstractmethod
    def get_metrics_sync(self) -> dict[str, Any]:
        """Numbers of the queue."""

    @abstractmethod
    def health_check_sync(self) -> list[dict[str, Any]]:
        """What the workers answer."""

    async def enqueue_task_async(
        self, task_name: str, args: Any = None, kwargs: Any = None, **options: Any
    ) -> TaskResult:
        """Put a task into the queue, in a thread."""
        return await _in_thread(self.enqueue_task_sync, task_name, args, kwargs, **options)  # type: ignore[no-any-return]

    async def get_task_status_async(self, task_id: str) -> TaskResult:
        """What became of a task, asked in a thread."""
        return await _in_thread(self.get_task_status_sync, task_id)  # type: ignore[no-any-return]

    async def cancel_task_async(self, task_id: str) -> bool:
        """Cancel a task, in a thread."""
        return await _in_thread(self.cancel_task_sync, task_id)  # type: ignore[no-any-return]

    async def get_metrics_async(self) -> dict[str, Any]:
        """Numbers of the queue, asked in a thread."""
        return await _in_thread(self.get_metrics_sync)  # type: ignore[no-any-return]

    async def health_check_async(self) -> list[dict[str, Any]]:
        """What the workers answer, asked in a thread."""
        return await _in_thread(self.health_check_sync)  # type: ignore[no-any-return]


async def _in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    import asyncio

    return await asyncio.to_thread(function, *args, **kwargs)
