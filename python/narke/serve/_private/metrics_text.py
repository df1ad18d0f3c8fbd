"""Prometheus text of deployments and applications, in Ray Serve's names. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from narke.serve._private.applications import AppState
from narke.serve._private.deployment_state import DeploymentState

__all__ = ["deployments_text", "merge", "prefixed"]

_HELP = {
    "serve_deployment_replica_healthy": ("gauge", "Whether a replica is healthy."),
    "serve_replica_processing_queries": ("gauge", "Requests that a replica runs."),
    "serve_replica_pending_queries": ("gauge", "Requests that wait in a replica."),
    "serve_deployment_request_counter_total": ("counter", "Requests that a replica has answered."),
    "serve_deployment_error_counter_total": ("counter", "Requests of a replica that raised."),
    "serve_deployment_status": (
        "gauge",
        "State of a deployment: 1 UPDATING, 2 HEALTHY, 3 UNHEALTHY, 4 DEPLOY_FAILED.",
    ),
    "serve_application_status": (
        "gauge",
        "State of an application: 1 NOT_STARTED, 2 DEPLOYING, 3 DEPLOY_FAILED, 4 RUNNING.",
    ),
    "serve_autoscaling_target_replicas": ("gauge", "Replicas that a deployment is to have."),
}


def _labels(**labels: str) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    return "{" + ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items()) + "}"


def deployments_text(states: Mapping[str, DeploymentState], apps: Mapping[str, AppState]) -> str:
    """Samples of all deployments and applications."""
    samples: dict[str, list[str]] = {name: [] for name in _HELP}

    def add(name: str, value: float, **labels: str) -> None:
        samples[name].append(f"{name}{_labels(**labels)} {value:g}")

    for state in states.values():
        where = {"deployment": state.target.name, "application": state.target.app_name}
        add("serve_deployment_status", state.status.to_numeric(), **where)
        add("serve_autoscaling_target_replicas", state.count, **where)
        for record in state.replicas.values():
            numbers: dict[str, Any] = record.numbers
            here = {**where, "replica": record.id}
            add(
                "serve_deployment_replica_healthy",
                int(record in state.serving() and not record.failed_checks),
                **here,
            )
            add("serve_replica_processing_queries", numbers.get("ongoing", 0), **here)
            add("serve_replica_pending_queries", numbers.get("waiting", 0), **here)
            add("serve_deployment_request_counter_total", numbers.get("total", 0), **here)
            add("serve_deployment_error_counter_total", numbers.get("errors", 0), **here)
    for app in apps.values():
        add("serve_application_status", app.status.to_numeric(), application=app.name)
    lines = []
    for name, (kind, text) in _HELP.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *samples[name]]
    return "\n".join(lines) + "\n"


def prefixed(text: str, prefix: str) -> str:
    """The same metrics with something in front of each name."""
    return "".join(f"{_named(line, prefix)}\n" for line in text.splitlines() if line)


def _named(line: str, prefix: str) -> str:
    if not line.startswith("# "):
        return prefix + line
    mark, kind, rest = line.split(" ", 2)
    return f"{mark} {kind} {prefix}{rest}"


def merge(texts: Iterable[str]) -> str:
    """Several expositions as one: each metric's lines stand together, its help once."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for text in texts:
        family = ""
        for line in text.splitlines():
            if line.startswith("# "):
                family = line.split(" ", 3)[2]
                known = heads.setdefault(family, [])
                if line not in known:
                    known.append(line)
            elif line:
                samples.setdefault(family, []).append(line)
    lines = [line for family, head in heads.items() for line in (*head, *samples.get(family, ()))]
    return "\n".join(lines) + "\n"
