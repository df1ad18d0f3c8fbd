"""An application's state, from those of its deployments. Pure."""

from __future__ import annotations

import collections
import time
from collections.abc import Mapping
from typing import Any

from narke.serve._private.common import ApplicationStatus, DeploymentStatus, ReplicaState
from narke.serve._private.deployment_state import DeploymentState
from narke.serve._private.targets import AppTarget, DeploymentTarget

__all__ = ["AppState"]

_EPOCH_S = time.time() - time.monotonic()  # of the clock that the controller's records use


class AppState:
    """One application.

    Attributes:
        name, route_prefix, ingress: see `AppTarget`.
        targets: its deployments by key, as they were asked for.
        config: the ServeApplicationSchema it was made from, or None.
        pending_config: one that is being built, or None.
        status, message: for people.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.route_prefix: str | None = None
        self.ingress = ""
        self.targets: dict[str, DeploymentTarget] = {}
        self.config: dict[str, Any] | None = None
        self.pending_config: dict[str, Any] | None = None
        self.external_scaler = False
        self.status = ApplicationStatus.DEPLOYING
        self.message = ""
        self.is_deleting = False
        self.deployed_at = time.time()

    def set_target(self, target: AppTarget) -> None:
        """Aim at something new."""
        self.route_prefix = target.route_prefix
        self.ingress = target.ingress
        self.targets = {deployment.key: deployment for deployment in target.deployments}
        self.config = target.config
        self.external_scaler = target.external_scaler
        self.status = ApplicationStatus.DEPLOYING
        self.message = ""
        self.deployed_at = time.time()

    def set_building(self, config: dict[str, Any]) -> None:
        """The application is being built from a config."""
        self.config = self.pending_config = config
        self.status = ApplicationStatus.DEPLOYING
        self.message = "The application is being built."
        self.deployed_at = time.time()

    def fail(self, message: str) -> None:
        """It could not be built."""
        self.pending_config = None
        self.status = ApplicationStatus.DEPLOY_FAILED
        self.message = message

    def delete(self) -> None:
        """It shall go."""
        self.is_deleting = True
        self.status = ApplicationStatus.DELETING
        self.message = ""

    def is_gone(self, states: Mapping[str, DeploymentState]) -> bool:
        """Deleted, and nothing left."""
        return self.is_deleting and not any(key.startswith(f"{self.name}#") for key in states)

    def update(self, states: Mapping[str, DeploymentState]) -> None:
        """Look at the deployments."""
        if self.is_deleting or self.pending_config is not None or not self.targets:
            return
        found = {states[key].status for key in self.targets if key in states}
        if DeploymentStatus.DEPLOY_FAILED in found:
            failed = [states[k] for k in self.targets if states[k].status == DeploymentStatus.DEPLOY_FAILED]
            names = [state.target.name for state in failed]
            self.message = f"Failed to update the deployments {names}. {failed[0].message}"
            self.status = ApplicationStatus.DEPLOY_FAILED
        elif DeploymentStatus.UNHEALTHY in found:
            names = [
                states[k].target.name for k in self.targets if states[k].status == DeploymentStatus.UNHEALTHY
            ]
            self.message = f"The deployments {names} are UNHEALTHY."
            self.status = ApplicationStatus.UNHEALTHY
        elif DeploymentStatus.UPDATING in found:
            self.status = ApplicationStatus.DEPLOYING
        else:
            self.message = ""
            self.status = ApplicationStatus.RUNNING

    def _of(self, states: Mapping[str, DeploymentState]) -> list[DeploymentState]:
        return [state for key, state in states.items() if key.startswith(f"{self.name}#")]

    def status_of(self, states: Mapping[str, DeploymentState]) -> dict[str, Any]:
        """Plain data of an ApplicationStatusOverview."""
        return {
            "status": self.status.value,
            "message": self.message,
            "last_deployed_time_s": self.deployed_at,
            "deployments": {state.target.name: _deployment_status(state) for state in self._of(states)},
        }

    def details_of(self, states: Mapping[str, DeploymentState]) -> dict[str, Any]:
        """Plain data of an ApplicationDetails."""
        ingress = self.targets.get(f"{self.name}#{self.ingress}")
        return {
            "name": self.name,
            "route_prefix": self.route_prefix,
            "docs_path": ingress.docs_path if ingress else None,
            "status": self.status.value,
            "message": self.message,
            "last_deployed_time_s": self.deployed_at,
            "source": "imperative" if self.config is None else "declarative",
            "deployed_app_config": self.config,
            "external_scaler_enabled": self.external_scaler,
            "deployments": {state.target.name: _deployment_details(state) for state in self._of(states)},
        }


def _deployment_status(state: DeploymentState) -> dict[str, Any]:
    counts = collections.Counter(record.state.value for record in state.replicas.values())
    return {
        "status": state.status.value,
        "status_trigger": state.trigger.value,
        "replica_states": dict(counts),
        "message": state.message,
    }


def _deployment_details(state: DeploymentState) -> dict[str, Any]:
    return {
        "name": state.target.name,
        **{k: v for k, v in _deployment_status(state).items() if k != "replica_states"},
        "deployment_config": {**state.target.config, "name": state.target.name},
        "target_num_replicas": state.count,
        "required_resources": {
            "CPU": state.target.actor_options.get("num_cpus", 1) or 0,
            **(
                {"GPU": state.target.actor_options["num_gpus"]}
                if state.target.actor_options.get("num_gpus")
                else {}
            ),
        },
        "replicas": [
            {
                "replica_id": record.id,
                "state": record.state.value,
                "actor_name": f"SERVE_REPLICA::{state.target.key}#{record.id}",
                "start_time_s": record.started_at + _EPOCH_S,
                **{
                    k: record.facts.get(k)
                    for k in ("pid", "node_id", "node_ip", "worker_id", "log_file_path")
                },
                "ongoing_requests": record.numbers.get("ongoing", 0),
            }
            for record in state.replicas.values()
            if record.state != ReplicaState.PENDING_MIGRATION
        ],
    }
