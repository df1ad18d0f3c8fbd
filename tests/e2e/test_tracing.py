"""OpenTelemetry spans of tasks and actors: who called whom, over processes."""

import json
import os
import pathlib

import pytest

pytest.importorskip("opentelemetry.sdk.trace")

HOOK = """
import os
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

def write_spans():
    out = open(os.path.join(os.environ["SPANS"], f"{os.getpid()}.json"), "a")
    trace.set_tracer_provider(TracerProvider())
    form = lambda span: span.to_json(indent=None) + "\\n"
    trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=out, formatter=form)))
"""

PROGRAM = """
import narke

@narke.remote
def inner(x):
    return x + 1

@narke.remote
def outer(x):
    return narke.get(inner.remote(x))

@narke.remote
def items(n):
    yield from range(n)

@narke.remote(num_cpus=0)
class Keeper:
    def ping(self, value=1):
        return value

@narke.remote(num_cpus=0)
class Talker:
    def __init__(self, greeting):
        self.greeting = greeting
    async def talk(self):
        return self.greeting

narke.init(num_cpus=2, include_dashboard=False, _tracing_startup_hook="spans:write_spans")
assert narke.get(outer.remote(1)) == 2
assert narke.get(outer.options(name="other").remote(1)) == 2
assert [narke.get(each) for each in items.remote(3)] == [0, 1, 2]
assert narke.get(Keeper.remote().ping.remote(value=5)) == 5
assert narke.get(Talker.remote("hello").talk.remote()) == "hello"
try:
    outer.remote()
except TypeError as error:
    print("REFUSED", error)
narke.shutdown()
narke.init(num_cpus=1, include_dashboard=False)
assert narke.get(outer.remote(1)) == 2
print("WITHOUT it", flush=True)
"""


def spans_of(folder):
    return [
        json.loads(line)
        for path in pathlib.Path(folder).glob("*.json")
        for line in path.read_text().splitlines()
    ]


def test_spans_follow_calls_from_process_to_process(tmp_path, monkeypatch, start):
    (tmp_path / "spans.py").write_text(HOOK)
    folder = tmp_path / "written"
    folder.mkdir()
    monkeypatch.setenv("SPANS", str(folder))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ['PYTHONPATH']}")
    program = start(PROGRAM)
    assert "missing a required argument" in program.said("REFUSED")
    program.said("WITHOUT")
    assert program.ended() == 0, program.errors
    spans = {span["name"]: span for span in spans_of(folder)}
    by_id = {span["context"]["span_id"]: span for span in spans_of(folder)}
    inner = next(name for name in spans if name.endswith("inner ray.remote_worker"))
    path = []
    span = spans[inner]
    while span is not None:
        path.append(span["name"].partition(".")[2] if "." in span["name"] else span["name"])
        span = by_id.get(span["parent_id"])
    assert path == [
        "inner ray.remote_worker",
        "inner ray.remote",
        "outer ray.remote_worker",
        "outer ray.remote",
    ]
    assert {"Keeper.ping ray.remote", "Keeper.ping ray.remote_worker"} <= set(spans)
    assert {"Talker.__init__ ray.remote_worker", "Talker.talk ray.remote_worker"} <= set(spans)
    worker = spans[inner]
    assert worker["kind"] == "SpanKind.CONSUMER"
    assert worker["attributes"]["ray.remote"] == "task"
    assert len(worker["attributes"]["ray.worker_id"]) == 56
    # None of the second cluster.
    assert sum(span["name"].endswith("outer ray.remote") for span in spans_of(folder)) == 2
