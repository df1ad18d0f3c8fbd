"""OpenTelemetry spans of requests: whose they are, and which share of the requests has one."""

import json
import pathlib
import time

import pytest

pytest.importorskip("opentelemetry.sdk.trace")

import requests
from conftest import serving
from ray import serve
from ray.serve.schema import TracingConfig

from narke._private import session
from narke.serve._private import tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(scope="module")
def traced():
    """Serve that traces every request, and its folder of spans; its routes are below a root path."""
    with serving(4, http_options={"root_path": "/base"}, tracing_config=TracingConfig(enabled=True)) as made:
        folder = session.connected().info["session_dir"]
        made.spans = pathlib.Path(folder, "logs", "serve", "spans")
        yield made


def spans_of(served, count):
    """The spans by name, once there are so many."""
    deadline = time.monotonic() + 30
    while True:
        lines = [line for file in served.spans.glob("*.json") for line in file.read_text().splitlines()]
        if len(lines) >= count:
            return {span["name"]: span for span in map(json.loads, lines)}
        assert time.monotonic() < deadline, lines
        time.sleep(0.02)


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Inner:
    async def double(self, x):
        if x < 0:
            raise ValueError("no negative numbers")
        return 2 * x


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Outer:
    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, request):
        return await self.inner.double.remote(int(request.query_params["x"]))


def test_a_request_and_the_calls_it_makes_are_one_trace(traced):
    serve.run(Outer.bind(Inner.bind()), route_prefix="/doubled")
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "x-request-id": "mine"}
    assert requests.get(f"{traced.url}/base/doubled?x=4", headers=headers, timeout=30).json() == 8
    spans = spans_of(traced, 2)
    outer = spans["replica_handle_request Outer __call__"]
    inner = spans["replica_handle_request Inner double"]
    assert outer["context"]["trace_id"] == inner["context"]["trace_id"] == f"0x{TRACE}"
    assert outer["parent_id"] == "0xb7ad6b7169203331"
    assert inner["parent_id"] == outer["context"]["span_id"]
    wanted = {"request_id": "mine", "route": "/base/doubled", "http.method": "GET", "http.status_code": 200}
    assert wanted.items() <= outer["attributes"].items() and inner["attributes"]["app"] == "default"

    assert requests.get(f"{traced.url}/base/doubled?x=-1", timeout=30).status_code == 500
    failed = spans_of(traced, 4)["replica_handle_request Inner double"]
    assert failed["status"]["status_code"] == "ERROR" and failed["parent_id"] != inner["parent_id"]
    assert failed["events"][0]["attributes"]["exception.message"] == "no negative numbers"

    unwanted = {"traceparent": f"00-{'1' * 32}-b7ad6b7169203331-00"}  # the client does not record its own
    assert requests.get(f"{traced.url}/base/doubled?x=5", headers=unwanted, timeout=30).json() == 10
    serve.delete("default")
    assert not [s for s in spans_of(traced, 4).values() if s["context"]["trace_id"] == "0x" + "1" * 32]


def test_routes_are_below_the_root_path(traced):
    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    async def where(request):
        return [request.scope["root_path"], request.url.path]

    serve.run(where.bind(), name="where", route_prefix="/")
    assert requests.get(f"{traced.url}/base/x", timeout=30).json() == ["/base", "/base/x"]
    assert requests.get(f"{traced.url}/x", timeout=30).status_code == 404
    assert requests.get(f"{traced.url}/-/routes", timeout=30).json() == {"/base": "where"}
    serve.delete("where")


class TestSettings:
    def test_off_unless_asked_for(self, monkeypatch):
        monkeypatch.delenv("RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH", raising=False)
        assert tracing.settings(None) is None and tracing.settings({"enabled": False}) is None
        assert not tracing.is_on() and tracing.carrier() == ""

    def test_by_the_environment(self, monkeypatch):
        monkeypatch.setenv("RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH", "mine:exporter")
        monkeypatch.setenv("RAY_SERVE_TRACING_SAMPLING_RATIO", "0.25")
        assert tracing.settings(None) == {"exporter": "mine:exporter", "ratio": 0.25}

    def test_exporters_that_are_none(self):
        with pytest.raises(TypeError, match="list of SpanProcessors"):
            tracing.begin({"exporter": "builtins:dict", "ratio": 1.0}, "x")
