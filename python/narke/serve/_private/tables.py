"""The routing table: what proxies and handles are told of applications and replicas. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from narke.serve._private.deployment_state import DeploymentState

__all__ = ["build", "for_proxies", "mounted"]


def build(
    version: int,
    deployments: Mapping[str, DeploymentState],
    actors: Mapping[str, bytes],
    routes: Iterable[tuple[str, str, str]],
    timeout_ms: int = 0,
) -> dict[str, Any]:
    """The table, as `narke.serve._private.router` and, without what `for_proxies` leaves out, the proxy read it.

    Args:
        version: of the table.
        deployments: by key.
        actors: actor ids by replica id; a replica without one is left out.
        routes: (prefix, application, key of its ingress deployment).
        timeout_ms: for HTTP requests; 0: none.
    """
    return {
        "version": version,
        "deployments": [
            _deployment(key, state, actors) for key, state in deployments.items() if not state.is_deleting
        ],
        "routes": [
            {"prefix": prefix, "app": app, "deployment": key, "timeout_ms": timeout_ms, "body_limit": 0}
            for prefix, app, key in routes
        ],
    }


def _deployment(key: str, state: DeploymentState, actors: Mapping[str, bytes]) -> dict[str, Any]:
    target = state.target
    retry = target.backpressure.get("retry_after_s")
    return {
        "key": key,
        "max_queued": target.max_queued_requests,
        "status": target.backpressure.get("status_code") or 503,
        "router": target.router,
        "retry_after_s": 1 if retry is None else max(0, round(retry)),
        "failed": state.has_failed() and not state.serving(),
        "replicas": [
            {
                "id": record.id,
                "actor": actors[record.id],
                "max": record.facts.get("max_ongoing_requests") or target.max_ongoing_requests,
                "models": list(record.numbers.get("models", ())),
                "node": record.facts.get("node_id", ""),
                "stats": record.numbers.get("routing_stats") or {},
                "metadata": record.facts.get("metadata") or {},
            }
            for record in state.serving()
            if record.id in actors
        ],
    }


def mounted(root: str, prefix: str) -> str:
    """Where a route is under ``root_path`` of the HTTP options."""
    root = root.rstrip("/")
    return root if root and prefix == "/" else root + prefix


def for_proxies(table: dict[str, Any]) -> dict[str, Any]:
    """The table without what only handles use; plain enough for ``src/proxy/router.cc``."""
    return {**table, "deployments": [_for_proxy(each) for each in table["deployments"]]}


def _for_proxy(deployment: dict[str, Any]) -> dict[str, Any]:
    replicas = [
        {k: v for k, v in replica.items() if k not in ("stats", "metadata")}
        for replica in deployment["replicas"]
    ]
    return {**{k: v for k, v in deployment.items() if k != "router"}, "replicas": replicas}
