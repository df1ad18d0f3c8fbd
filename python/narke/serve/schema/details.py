"""All of Serve as the REST API shows it."""

from __future__ import annotations

import enum
import statistics
from typing import Any

from pydantic import Field, NonNegativeInt, field_validator

from narke.serve._private.common import (
    ApplicationStatus,
    DeploymentStatus,
    DeploymentStatusTrigger,
    ReplicaState,
    RequestProtocol,
)
from narke.serve._private.models import Model
from narke.serve.config import ProxyLocation
from narke.serve.schema.deploy import (
    HTTPOptionsSchema,
    ServeApplicationSchema,
    check_route_prefix,
    gRPCOptionsSchema,
)
from narke.serve.schema.options import DeploymentSchema
from narke.serve.schema.status import ProxyStatus

__all__ = [
    "APIType",
    "ApplicationDetails",
    "AutoscalingMetricsHealth",
    "AutoscalingStatus",
    "ControllerHealthMetrics",
    "DeploymentAutoscalingDetail",
    "DeploymentDetails",
    "DeploymentNode",
    "DeploymentTopology",
    "DurationStats",
    "ProxyDetails",
    "ReplicaDetails",
    "ReplicaRank",
    "ScaleDeploymentRequest",
    "ScalingDecision",
    "ServeActorDetails",
    "ServeInstanceDetails",
    "Target",
    "TargetGroup",
]


class ServeActorDetails(Model):
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


class ReplicaRank(Model):
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


class ScalingDecision(Model):
    """One change of a number of replicas."""

    timestamp_s: float
    reason: str
    prev_num_replicas: NonNegativeInt
    curr_num_replicas: NonNegativeInt
    policy: str | None = None


class DeploymentAutoscalingDetail(Model):
    """What autoscaling does for a deployment."""

    scaling_status: AutoscalingStatus
    decisions: list[ScalingDecision] = Field(default_factory=list)
    metrics: dict[str, Any] | None = None
    metrics_health: AutoscalingMetricsHealth = AutoscalingMetricsHealth.HEALTHY
    errors: list[str] = Field(default_factory=list)


class DeploymentDetails(Model):
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


class DeploymentNode(Model):
    """A deployment in its application's graph."""

    name: str
    app_name: str
    outbound_deployments: list[dict[str, Any]] = Field(default_factory=list)
    is_ingress: bool = False


class DeploymentTopology(Model):
    """Which deployments of an application call which."""

    app_name: str
    nodes: dict[str, DeploymentNode]
    ingress_deployment: str | None = None


class ApplicationDetails(Model):
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


class Target(Model):
    """Somewhere that serves requests."""

    ip: str
    port: int
    instance_id: str
    name: str


class TargetGroup(Model):
    """Targets for the requests of one route."""

    targets: list[Target]
    route_prefix: str
    protocol: RequestProtocol
    app_name: str = ""
    ingress_request_router_targets: list[Target] = Field(default_factory=list)
    ingress_deployment_name: str = ""


class DurationStats(Model):
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


class ControllerHealthMetrics(Model):
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


class ServeInstanceDetails(Model):
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


class ScaleDeploymentRequest(Model):
    """Asks for a number of replicas."""

    target_num_replicas: NonNegativeInt
