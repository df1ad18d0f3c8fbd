"""What `narke.serve.status` gives."""

from __future__ import annotations

import dataclasses

from narke.serve._private.common import (
    ApplicationStatus,
    DeploymentStatus,
    DeploymentStatusTrigger,
    NumberedStatus,
)

__all__ = ["ApplicationStatusOverview", "DeploymentStatusOverview", "ProxyStatus", "ServeStatus"]


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
    replica_states: dict[str, int]
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


class ProxyStatus(NumberedStatus):
    """A proxy's state."""

    STARTING = "STARTING"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DRAINING = "DRAINING"
    DRAINED = "DRAINED"


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
