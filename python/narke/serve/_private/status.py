"""The controller's plain data as the classes of `narke.serve.schema`."""

from __future__ import annotations

from typing import Any

from narke.serve import schema
from narke.serve._private.common import DeploymentStatus, DeploymentStatusTrigger

__all__ = ["details_from", "status_from"]


def status_from(data: dict[str, Any]) -> schema.ServeStatus:
    """A ServeStatus."""
    return schema.ServeStatus(
        proxies={node: schema.ProxyStatus(status) for node, status in data["proxies"].items()},
        applications={name: _application(app) for name, app in data["applications"].items()},
        target_capacity=data["target_capacity"],
    )


def _application(app: dict[str, Any]) -> schema.ApplicationStatusOverview:
    return schema.ApplicationStatusOverview(
        status=schema.ApplicationStatus(app["status"]),
        message=app["message"],
        last_deployed_time_s=app["last_deployed_time_s"],
        deployments={name: _deployment(each) for name, each in app["deployments"].items()},
    )


def _deployment(data: dict[str, Any]) -> schema.DeploymentStatusOverview:
    return schema.DeploymentStatusOverview(
        status=DeploymentStatus(data["status"]),
        status_trigger=DeploymentStatusTrigger(data["status_trigger"]),
        replica_states={
            str(getattr(state, "value", state)): n for state, n in data["replica_states"].items()
        },
        message=data["message"],
    )


def details_from(data: dict[str, Any]) -> dict[str, Any]:
    """The body of ``GET /api/serve/applications/``: fields of a ServeInstanceDetails, plain data."""
    options = data["options"]
    grpc = {"port": 9000, "grpc_servicer_functions": [], **(options.get("grpc") or {})}
    return {
        "deploy_mode": "MULTI_APP",
        "controller_info": data["controller"],
        "proxy_location": options["location"],
        "http_options": {
            k: options[k] for k in ("host", "port", "root_path", "request_timeout_s", "keep_alive_timeout_s")
        },
        "grpc_options": {k: v for k, v in grpc.items() if k != "sys_path"},
        "proxies": data["proxies"],
        "applications": data["applications"],
        "target_capacity": options.get("target_capacity"),
    }
