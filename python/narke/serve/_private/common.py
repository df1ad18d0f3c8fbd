"""Names and states that all parts of Serve share."""

from __future__ import annotations

import dataclasses
import enum
import random

__all__ = [
    "DEFAULT",
    "CONTROLLER_NAME",
    "DEFAULT_APP_NAME",
    "NAMESPACE",
    "PROXY_NAME",
    "ApplicationStatus",
    "DeploymentID",
    "DeploymentStatus",
    "DeploymentStatusTrigger",
    "NumberedStatus",
    "ReplicaID",
    "ReplicaState",
    "RequestProtocol",
    "random_name",
]

NAMESPACE = "serve"
CONTROLLER_NAME = "SERVE_CONTROLLER_ACTOR"
PROXY_NAME = "SERVE_PROXY_ACTOR"
DEFAULT_APP_NAME = "default"


class DEFAULT(enum.Enum):
    """Marks an option that was not given."""

    VALUE = 1


@dataclasses.dataclass(frozen=True)
class DeploymentID:
    """Names a deployment in the cluster.

    Attributes:
        name: the deployment's name.
        app_name: its application's.
    """

    name: str
    app_name: str = DEFAULT_APP_NAME

    @property
    def key(self) -> str:
        """``app#deployment``."""
        return f"{self.app_name}#{self.name}"

    @classmethod
    def from_key(cls, key: str) -> DeploymentID:
        """Reads `key`."""
        app, _, name = key.partition("#")
        return cls(name, app)

    def to_replica_actor_class_name(self) -> str:
        """What a replica's process is called."""
        return f"ServeReplica:{self.app_name}:{self.name}"

    def __str__(self) -> str:
        return f"Deployment(name='{self.name}', app='{self.app_name}')"


@dataclasses.dataclass(frozen=True)
class ReplicaID:
    """Names a replica.

    Attributes:
        unique_id: random letters and digits.
        deployment_id: the deployment it belongs to.
    """

    unique_id: str
    deployment_id: DeploymentID

    @property
    def actor_name(self) -> str:
        """The name of its actor."""
        return f"SERVE_REPLICA::{self.deployment_id.key}#{self.unique_id}"

    def to_full_id_str(self) -> str:
        """The same as `actor_name`."""
        return self.actor_name

    @staticmethod
    def is_full_id_str(s: str) -> bool:
        """Whether `to_full_id_str` could have given a text."""
        return s.startswith("SERVE_REPLICA::") and s.count("#") == 2

    @classmethod
    def from_full_id_str(cls, s: str) -> ReplicaID:
        """Reads what `to_full_id_str` gave."""
        key, _, unique_id = s.removeprefix("SERVE_REPLICA::").rpartition("#")
        return cls(unique_id, DeploymentID.from_key(key))

    def __str__(self) -> str:
        return (
            f"Replica(id='{self.unique_id}', deployment='{self.deployment_id.name}', "
            f"app='{self.deployment_id.app_name}')"
        )


class NumberedStatus(str, enum.Enum):
    """A status that metrics show as a number."""

    def to_numeric(self) -> int:
        """Its place among all, from 1; 0 is unknown."""
        return list(type(self)).index(self) + 1


class ApplicationStatus(NumberedStatus):
    """State of an application."""

    NOT_STARTED = "NOT_STARTED"
    DEPLOYING = "DEPLOYING"
    DEPLOY_FAILED = "DEPLOY_FAILED"
    RUNNING = "RUNNING"
    UNHEALTHY = "UNHEALTHY"
    DELETING = "DELETING"


class DeploymentStatus(NumberedStatus):
    """State of a deployment."""

    UPDATING = "UPDATING"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DEPLOY_FAILED = "DEPLOY_FAILED"
    UPSCALING = "UPSCALING"
    DOWNSCALING = "DOWNSCALING"


class DeploymentStatusTrigger(str, enum.Enum):
    """What last changed a deployment's status."""

    UNSPECIFIED = "UNSPECIFIED"
    CONFIG_UPDATE_STARTED = "CONFIG_UPDATE_STARTED"
    CONFIG_UPDATE_COMPLETED = "CONFIG_UPDATE_COMPLETED"
    UPSCALE_COMPLETED = "UPSCALE_COMPLETED"
    DOWNSCALE_COMPLETED = "DOWNSCALE_COMPLETED"
    AUTOSCALING = "AUTOSCALING"
    REPLICA_STARTUP_FAILED = "REPLICA_STARTUP_FAILED"
    HEALTH_CHECK_FAILED = "HEALTH_CHECK_FAILED"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    DELETING = "DELETING"


class ReplicaState(str, enum.Enum):
    """State of a replica."""

    STARTING = "STARTING"
    UPDATING = "UPDATING"
    RECOVERING = "RECOVERING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    PENDING_MIGRATION = "PENDING_MIGRATION"


class RequestProtocol(str, enum.Enum):
    """How a request came in."""

    UNDEFINED = "UNDEFINED"
    HTTP = "HTTP"
    GRPC = "gRPC"


def random_name(length: int = 8) -> str:
    """Random lower-case letters and digits."""
    return "".join(random.SystemRandom().choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length))
