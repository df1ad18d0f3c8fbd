"""Autoscaling policies: functions of an `AutoscalingContext` that say how many replicas there should be."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from narke.serve._private.autoscaling import desired_replicas
from narke.serve.config import AutoscalingContext

__all__ = [
    "DEFAULT_PROMETHEUS_CACHE_TTL_S",
    "DEFAULT_PROMETHEUS_FETCH_INTERVAL_S",
    "DEFAULT_PROMETHEUS_QUERY_TIMEOUT_S",
    "PrometheusQueryMixin",
    "PrometheusQueryResult",
    "PrometheusSample",
    "PrometheusScalar",
    "PrometheusVector",
    "default_autoscaling_policy",
    "replica_queue_length_autoscaling_policy",
]

DEFAULT_PROMETHEUS_CACHE_TTL_S = 15.0
DEFAULT_PROMETHEUS_FETCH_INTERVAL_S = 5.0
DEFAULT_PROMETHEUS_QUERY_TIMEOUT_S = 5.0


def replica_queue_length_autoscaling_policy(ctx: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """So many replicas that each has the config's target number of requests.

    Returns:
        the number (rounded up and kept within bounds by the caller), and the policy's state.
    """
    desired = desired_replicas(ctx.total_num_requests, ctx.target_num_replicas, ctx.config)
    return desired, ctx.policy_state


default_autoscaling_policy = replica_queue_length_autoscaling_policy


def make_context(
    *,
    deployment: Any,
    current: int,
    replicas: list[Any],
    running: float,
    queued: float,
    state: dict[str, Any],
    config: Any,
    bounds: tuple[int, int],
    last_up: float | None,
    last_down: float | None,
    now: float,
) -> AutoscalingContext:
    """The context of one decision."""
    return AutoscalingContext(
        deployment_id=deployment,
        deployment_name=deployment.name,
        app_name=deployment.app_name,
        current_num_replicas=len(replicas),
        target_num_replicas=current,
        running_replicas=replicas,
        total_num_requests=running + queued,
        total_queued_requests=queued,
        aggregated_metrics={},
        raw_metrics={},
        capacity_adjusted_min_replicas=bounds[0],
        capacity_adjusted_max_replicas=bounds[1],
        policy_state=state,
        last_scale_up_time=last_up,
        last_scale_down_time=last_down,
        current_time=now,
        config=config,
    )


@dataclasses.dataclass(frozen=True)
class PrometheusSample:
    """One value of a vector.

    Attributes:
        labels: of its series.
        value: the number.
        timestamp: seconds since the epoch.
    """

    labels: Mapping[str, str]
    value: float
    timestamp: float


@dataclasses.dataclass(frozen=True)
class PrometheusScalar:
    """A query's answer that is one number."""

    value: float
    timestamp: float


@dataclasses.dataclass(frozen=True)
class PrometheusVector:
    """A query's answer that is a number for each series."""

    samples: tuple[PrometheusSample, ...]


PrometheusQueryResult = PrometheusScalar | PrometheusVector


class PrometheusQueryMixin:
    """For policy classes: keeps the answers of Prometheus queries at hand.

    Queries run in a thread of their own; answers older than `cache_ttl_s` are not shown.
    """

    def __init__(
        self,
        *,
        prometheus_address: str | None = None,
        prometheus_queries: Mapping[str, str] | None = None,
        fetch_interval_s: float = DEFAULT_PROMETHEUS_FETCH_INTERVAL_S,
        cache_ttl_s: float = DEFAULT_PROMETHEUS_CACHE_TTL_S,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._address = prometheus_address or os.environ.get("RAY_PROMETHEUS_HOST", "http://localhost:9090")
        self._queries = dict(prometheus_queries or {})
        self._interval_s = fetch_interval_s
        self._ttl_s = cache_ttl_s
        self._answers: dict[str, tuple[float, PrometheusQueryResult]] = {}
        self._thread: threading.Thread | None = None

    @property
    def prometheus_results(self) -> dict[str, PrometheusQueryResult]:
        """Fresh answers by the query's name."""
        self._begin()
        oldest = time.monotonic() - self._ttl_s
        return {name: answer for name, (at, answer) in list(self._answers.items()) if at >= oldest}

    @property
    def prometheus_metrics(self) -> dict[str, float]:
        """Fresh answers as one number each: of a vector, the sum."""
        return {name: _number(answer) for name, answer in self.prometheus_results.items()}

    def _begin(self) -> None:
        if self._thread is None and self._queries:
            self._thread = threading.Thread(target=self._fetch_for_ever, name="prometheus", daemon=True)
            self._thread.start()

    def _fetch_for_ever(self) -> None:
        while True:
            for name, query in self._queries.items():
                answer = _ask(self._address, query)
                if answer is not None:
                    self._answers[name] = time.monotonic(), answer
            time.sleep(self._interval_s)


def _number(answer: PrometheusQueryResult) -> float:
    return (
        answer.value
        if isinstance(answer, PrometheusScalar)
        else sum(sample.value for sample in answer.samples)
    )


def _ask(address: str, query: str) -> PrometheusQueryResult | None:
    """The answer, or None while the server does not give one."""
    url = f"{address.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(url, timeout=DEFAULT_PROMETHEUS_QUERY_TIMEOUT_S) as response:
            data = json.load(response)["data"]
    except (OSError, ValueError, KeyError):
        return None
    if data["resultType"] == "scalar":
        return PrometheusScalar(float(data["result"][1]), float(data["result"][0]))
    samples = tuple(
        PrometheusSample(each["metric"], float(each["value"][1]), float(each["value"][0]))
        for each in data["result"]
    )
    return PrometheusVector(samples)
