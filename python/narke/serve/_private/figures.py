"""What the dashboard shows of traffic: numbers by route and by deployment, out of what proxies and replicas tell. Pure.

    {"time_s": float, "ongoing": requests that proxies serve now,
     "routes": [{"application", "route", "requests", "errors", "latency_ms_sum", "buckets": [[at most ms, requests]]}],
     "deployments": [{"application", "deployment", "status", "replicas", "target", "ongoing", "waiting", "requests",
                      "errors"}]}

Requests, errors, sums and buckets count from the start of the proxies and replicas: a rate is a difference of two
looks. The last bucket's bound is null: without end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from narke.serve._private.deployment_state import DeploymentState

__all__ = ["figures"]

_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)\{(?P<labels>.*)\} (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_LATENCY = "serve_http_request_latency_ms"


def figures(proxies: str, states: Mapping[str, DeploymentState], time_s: float) -> dict[str, Any]:
    """The numbers above.

    Args:
        proxies: the proxies' metrics in Prometheus' text format.
        states: the deployments.
        time_s: now, in seconds since 1970.
    """
    routes: dict[tuple[str, str], dict[str, Any]] = {}
    ongoing = 0.0
    for name, labels, value in _samples(proxies):
        if name == "serve_num_ongoing_http_requests":
            ongoing += value
        if "route" in labels and "application" in labels:
            _count(routes, name, labels, value)
    return {
        "time_s": time_s,
        "ongoing": ongoing,
        "routes": [{**row, "buckets": _bounded(row["buckets"])} for _, row in sorted(routes.items())],
        "deployments": [_deployment(state) for state in states.values()],
    }


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in text.splitlines():
        if match := _SAMPLE.fullmatch(line):
            yield match["name"], dict(_LABEL.findall(match["labels"])), float(match["value"])


def _count(
    routes: dict[tuple[str, str], dict[str, Any]], name: str, labels: dict[str, str], value: float
) -> None:
    where = (labels["application"], labels["route"])
    row = routes.setdefault(
        where,
        {
            "application": where[0],
            "route": where[1],
            "requests": 0.0,
            "errors": 0.0,
            "latency_ms_sum": 0.0,
            "buckets": {},
        },
    )
    if name == "serve_num_http_requests_total":
        row["requests"] += value
    elif name == "serve_num_http_error_requests_total":
        row["errors"] += value
    elif name == f"{_LATENCY}_sum":
        row["latency_ms_sum"] += value
    elif name == f"{_LATENCY}_bucket":
        row["buckets"][labels["le"]] = row["buckets"].get(labels["le"], 0.0) + value


def _bounded(buckets: dict[str, float]) -> list[list[float | None]]:
    """Buckets in the order of their bounds."""
    ordered = sorted(buckets.items(), key=lambda each: float(each[0]))
    return [[None if bound == "+Inf" else float(bound), count] for bound, count in ordered]


def _deployment(state: DeploymentState) -> dict[str, Any]:
    numbers = [record.numbers for record in state.replicas.values()]

    def total(name: str) -> float:
        return sum(float(each.get(name, 0)) for each in numbers)

    return {
        "application": state.target.app_name,
        "deployment": state.target.name,
        "status": state.status.value,
        "replicas": len(state.serving()),
        "target": state.count,
        "ongoing": total("ongoing"),
        "waiting": total("waiting"),
        "requests": total("total"),
        "errors": total("errors"),
    }
