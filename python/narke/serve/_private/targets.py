"""What the controller is told to bring about: plain data, without the user's code."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

__all__ = ["AppTarget", "DeploymentTarget"]


@dataclasses.dataclass
class DeploymentTarget:
    """One deployment as it shall be.

    Attributes:
        name: the deployment's.
        app_name: its application's.
        version: replicas of other versions are replaced.
        payload: cloudpickled (class or function, args, kwargs).
        num_replicas: how many; the first number with autoscaling.
        max_ongoing_requests: requests a replica runs at once.
        max_queued_requests: requests that may wait in a proxy or handle; -1: no limit.
        backpressure: {"status_code", "retry_after_s"} of answers to those beyond.
        user_config: for ``reconfigure``; any JSON value.
        graceful_shutdown_wait_loop_s, graceful_shutdown_timeout_s: see `narke.serve.deployment`.
        health_check_period_s, health_check_timeout_s: seconds.
        actor_options: of the replicas' actors.
        gang: {"size", "strategy", "breaks"} (whether all end with one) of gangs of replicas, or None.
        placement: {"bundles", "strategy"} of each replica's placement group, or None.
        autoscaling: fields of AutoscalingConfig, or None.
        autoscaling_policy: pickled policy, or None for the default.
        router: pickled (class, kwargs) of a router for handles, or None.
        logging_config: fields of LoggingConfig, or None.
        route_prefix: of the ingress deployment; None elsewhere.
        is_ingress: whether HTTP requests of the application go there.
        max_constructor_retry_count: failed starts after which the deployment has failed.
        rolling_update_percentage, max_surge_percent: how many replicas an update replaces at once, or None.
        max_replicas_per_node: of this deployment, at most so many on one node; None: any number.
        shared_actors: [{"name", "payload", "options"}] of actors that the replicas share; payload: cloudpickled (class,
            args, kwargs).
        sys_path: where the replicas look for modules.
        docs_path: where the app shows its documentation, or None.
        config: what status shows of the options: fields of DeploymentSchema.
    """

    name: str
    app_name: str
    version: str
    payload: bytes = b""
    num_replicas: int = 1
    max_ongoing_requests: int = 5
    max_queued_requests: int = -1
    backpressure: dict[str, Any] = dataclasses.field(default_factory=dict)
    user_config: Any = None
    graceful_shutdown_wait_loop_s: float = 2.0
    graceful_shutdown_timeout_s: float = 20.0
    health_check_period_s: float = 10.0
    health_check_timeout_s: float = 30.0
    actor_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    gang: dict[str, Any] | None = None
    placement: dict[str, Any] | None = None
    autoscaling: dict[str, Any] | None = None
    autoscaling_policy: bytes | None = None
    router: bytes | None = None
    logging_config: dict[str, Any] | None = None
    route_prefix: str | None = None
    is_ingress: bool = False
    max_constructor_retry_count: int = 20
    rolling_update_percentage: float | None = None
    max_surge_percent: float | None = None
    max_replicas_per_node: int | None = None
    shared_actors: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    sys_path: list[str] = dataclasses.field(default_factory=list)
    docs_path: str | None = None
    config: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> str:
        """``app#deployment``."""
        return f"{self.app_name}#{self.name}"

    def replica_config(self) -> dict[str, Any]:
        """What a replica needs of this beside its payload; may change while it runs."""
        return {
            "max_ongoing_requests": self.max_ongoing_requests,
            "user_config": self.user_config,
            "logging_config": self.logging_config,
            "sys_path": self.sys_path,
            "version": self.version,
            "world_size": self.num_replicas,
            "deployment_config": self.config,
            "is_ingress": self.is_ingress,
        }

    def config_hash(self) -> str:
        """Changes whenever running replicas must be told of a new config."""
        relevant = {
            k: v
            for k, v in self.replica_config().items()
            if k in ("max_ongoing_requests", "user_config", "logging_config")
        }
        text = json.dumps(relevant, sort_keys=True, default=repr)
        return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@dataclasses.dataclass
class AppTarget:
    """An application as it shall be.

    Attributes:
        name: the application's.
        route_prefix: where it is served; None: by handles only.
        ingress: name of the deployment that HTTP requests go to.
        deployments: all of them.
        config: the ServeApplicationSchema it was made from, or None.
        external_scaler: whether others may set its numbers of replicas.
    """

    name: str
    route_prefix: str | None
    ingress: str
    deployments: list[DeploymentTarget]
    config: dict[str, Any] | None = None
    external_scaler: bool = False
