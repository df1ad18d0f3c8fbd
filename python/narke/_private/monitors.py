"""Whether the Prometheus and the Grafana that a cluster's operator names are well.

Run by the gateway, which has no client of HTTP. Prints a line with the status of our answer and then its JSON body, in
the words of Ray's dashboard.
"""

from __future__ import annotations

import json
import os
import urllib.request
from typing import Any

__all__ = ["grafana", "prometheus"]

_LIMIT_S = 5
_MOST_BYTES = 1 << 20


def _get(url: str, headers: dict[str, str]) -> Any:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no http or https URL")
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_LIMIT_S) as answer:
        return json.loads(answer.read(_MOST_BYTES))


def _headers() -> dict[str, str]:
    """``RAY_PROMETHEUS_HEADERS``: a JSON object, or a list of pairs."""
    return dict(json.loads(os.environ.get("RAY_PROMETHEUS_HEADERS", "{}")))


Answer = tuple[bool, str, dict[str, Any]]  # whether it is well, in words, particulars


def prometheus() -> Answer:
    """Whether the server at ``RAY_PROMETHEUS_HOST`` answers queries."""
    host = os.environ.get("RAY_PROMETHEUS_HOST", "http://localhost:9090").rstrip("/")
    try:
        answer = _get(f"{host}/api/v1/query?query=vector(1)", _headers())
    except (OSError, ValueError) as error:
        return False, "prometheus healthcheck failed.", {"reason": str(error)}
    if not isinstance(answer, dict) or answer.get("status") != "success":
        return (
            False,
            "prometheus healthcheck failed.",
            {"reason": f"{host} does not answer as Prometheus does"},
        )
    return True, "prometheus running", {}


def grafana(session_name: str) -> Answer:
    """Whether the server at ``RAY_GRAFANA_HOST`` is well, and where browsers find it."""
    host = os.environ.get("RAY_GRAFANA_HOST", "http://localhost:3000")
    if host == "DISABLED":
        return True, "Grafana disabled", {"grafanaHost": host}
    try:
        answer = _get(f"{host.rstrip('/')}/api/health", {})
    except (OSError, ValueError) as error:
        return False, "Grafana healthcheck failed", {"exception": str(error)}
    if not isinstance(answer, dict) or answer.get("database") != "ok":
        return False, "Grafana healthcheck failed. Database not ok.", {"json": answer}
    data: dict[str, Any] = {
        "grafanaHost": os.environ.get("RAY_GRAFANA_IFRAME_HOST", host),
        "grafanaOrgId": os.environ.get("RAY_GRAFANA_ORG_ID", "1"),
        "grafanaClusterFilter": os.environ.get("RAY_GRAFANA_CLUSTER_FILTER"),
        "sessionName": session_name,
        "dashboardDatasource": os.environ.get("RAY_PROMETHEUS_NAME", "Prometheus"),
        "dashboardUids": {},
    }
    return True, "Grafana running", data


def main(words: list[str]) -> int:
    """``prometheus``, or ``grafana`` and the session's name."""
    good, message, data = prometheus() if words[0] == "prometheus" else grafana(words[1])
    print(200 if good else 500)
    print(json.dumps({"result": good, "msg": message, "data": data}))
    return 0
