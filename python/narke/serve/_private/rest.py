"""Serve's REST API: one function from a request to an answer, for whoever serves HTTP.

``python -m narke.serve._private.rest METHOD PATH [ADDRESS]`` does one request with the body on standard input, for the
gateway (src/gateway/serve_routes.cc); it starts Serve where it does not run.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from narke.serve._private import client, tracing
from narke.serve._private.status import details_from
from narke.serve.schema import ScaleDeploymentRequest, ServeDeploySchema, ServeInstanceDetails

__all__ = ["deploy_config", "handle"]

_APPLICATIONS = "/api/serve/applications/"
_SCALE = re.compile(r"/api/v1/applications/([^/]+)/deployments/([^/]+)/scale/?")


def handle(method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    """Answer one request.

    Args:
        method: GET, PUT, POST or DELETE.
        path: below the dashboard's address; a query is left aside.
        body: JSON.

    Returns:
        HTTP status, and what is to be sent as JSON; a str is sent as text.
    """
    path = path.partition("?")[0]
    try:
        if path.rstrip("/") == _APPLICATIONS.rstrip("/"):
            return _applications(method, body)
        if found := _SCALE.fullmatch(path):
            return _scale(method, found[1], found[2], body)
    except ValueError as error:  # pydantic's errors are such
        return 400, str(error)
    return 404, f"No route {path}"


def _applications(method: str, body: bytes) -> tuple[int, Any]:
    if method == "GET":
        return 200, _details()
    if method == "PUT":
        deploy_config(ServeDeploySchema.model_validate(json.loads(body)))
        return 200, ""
    if method == "DELETE":
        client.shut_down()
        return 200, ""
    return 405, f"{method} is not possible here"


def _details() -> dict[str, Any]:
    import narke

    found = client.controller()
    if found is None:
        return ServeInstanceDetails.get_empty_schema_dict()
    return details_from(narke.get(found.details.remote()))


def deploy_config(schema: ServeDeploySchema) -> None:
    """Bring about what a config file says; returns at once. Starts Serve where it does not run.

    Raises:
        ValueError: Serve runs with other HTTP options.
    """
    import narke

    config = schema.model_dump(mode="json", exclude_unset=True)
    options = {
        **schema.http_options.model_dump(),
        "location": schema.proxy_location.value,
        "grpc": schema.grpc_options.model_dump(),
        "tracing": tracing.settings(schema.tracing_config),
    }
    found = client.start(options)
    narke.get(found.deploy_config.remote({**config, "applications": [_app(a) for a in schema.applications]}))


def _app(app: Any) -> dict[str, Any]:
    return {
        **app.model_dump(mode="json", exclude_unset=True),
        "name": app.name,
        "route_prefix": app.route_prefix,
    }


def _scale(method: str, app: str, deployment: str, body: bytes) -> tuple[int, Any]:
    import narke

    if method != "POST":
        return 405, f"{method} is not possible here"
    count = ScaleDeploymentRequest.model_validate(json.loads(body)).target_num_replicas
    try:
        narke.get(client.connect().set_replicas.remote(app, deployment, count))
    except Exception as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, ValueError):
            return 412, str(cause)
        raise
    return 200, {"message": f"Deployment {deployment} of {app} is scaled to {count} replicas"}


def main(argv: list[str]) -> int:
    """One request from the command line: prints the status, then the answer.

    Args:
        argv: method, path, and the cluster's address or session folder; the latest one's without it.
    """
    from narke._private.cli.connection import connected

    method, path, *rest = argv
    body = sys.stdin.buffer.read() if method in ("PUT", "POST") else b""
    with connected(rest[0] if rest else None):
        try:
            status, answer = handle(method, path, body)
        except RuntimeError as error:  # such as a port that is taken
            status, answer = 500, str(error)
    print(status)
    print(answer if isinstance(answer, str) else json.dumps(answer))
    return 0 if status < 400 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
