"""SigOpt's adapter: its real client against a service on this machine that knows the part of SigOpt's interface
which the adapter needs."""

import http.server
import json
import threading

import pytest

pytest.importorskip("sigopt")
if not hasattr(__import__("sigopt"), "Connection"):
    pytest.skip("needs the client of the service, sigopt up to version 7", allow_module_level=True)

from narke.tune.search.sigopt import SigOptSearch, load_sigopt_key

SPACE = [{"name": "x", "type": "double", "bounds": {"min": 0.0, "max": 1.0}}]


class Service(http.server.BaseHTTPRequestHandler):
    """POST experiments, suggestions and observations; GET an experiment."""

    def do_POST(self):
        kept = self.server.kept
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}")
        kind = self.path.rstrip("/").rsplit("/", 1)[-1]
        made = {"id": str(len(kept[kind]) + 1), **body}
        if kind == "suggestions":
            made.setdefault("assignments", {"x": 0.1 * (len(kept[kind]) + 1)})
        kept[kind].append(made)
        self.answer(made)

    def do_GET(self):
        self.answer(self.server.kept["experiments"][-1])

    def answer(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def service(monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.kept = {"experiments": [], "suggestions": [], "observations": []}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("SIGOPT_API_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("SIGOPT_KEY", "secret")
    yield server.kept
    server.shutdown()
    server.server_close()
    thread.join(20)


def test_suggestions_and_values_go_through_the_service(service, tmp_path):
    searcher = SigOptSearch(SPACE, name="mine", metric="loss", mode="min", max_concurrent=2)
    assert service["experiments"][0]["metrics"] == [
        {"name": "loss", "objective": "minimize", "strategy": "optimize"}
    ]
    assert not searcher.set_search_properties("other", "max", {})
    assert searcher.suggest("a") == {"x": 0.1} and searcher.suggest("b") == {"x": 0.2}
    assert searcher.suggest("c") is None  # two are under way
    searcher.save(str(tmp_path / "state"))
    again = SigOptSearch(experiment_id="1", metric="loss", mode="min")
    again.restore(str(tmp_path / "state"))
    again.on_trial_complete("a", {"loss": 0.5})
    again.on_trial_complete("b", error=True)
    again.on_trial_complete("unknown", {"loss": 1.0})
    first, second = service["observations"]
    assert (first["suggestion"], first["values"]) == ("1", [{"name": "loss", "value": 0.5}])
    assert second["failed"] and second["suggestion"] == "2"


def test_points_given_beforehand_come_first(service):
    searcher = SigOptSearch(
        SPACE, metric="loss", mode="min", max_concurrent=5, points_to_evaluate=[{"x": 0.75}]
    )
    assert [searcher.suggest(name)["x"] for name in "ab"] == [0.75, 0.2]


def test_several_metrics_are_told_and_a_missing_one_is_named(service):
    searcher = SigOptSearch(SPACE, metric=["a", "b"], mode=["max", "obs"], observation_budget=10)
    searcher.suggest("t")
    with pytest.raises(ValueError, match="has no b"):
        searcher.on_trial_complete("t", {"a": 1.0})
    searcher.on_trial_complete("t", {"a": 1.0, "b": 2.0})
    assert service["observations"][0]["values"] == [{"name": "a", "value": 1.0}, {"name": "b", "value": 2.0}]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "space= or experiment_id="),
        ({"space": SPACE, "metric": ["a", "b"], "mode": ["max", "max"]}, "observation_budget"),
        ({"space": SPACE, "metric": "a", "mode": "most"}, "do not fit"),
    ],
)
def test_bad_arguments_are_refused(service, options, says):
    with pytest.raises(ValueError, match=says):
        SigOptSearch(**options)
    assert service["experiments"] == []


def test_the_access_comes_from_the_environment_or_the_file_of_the_client(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SIGOPT_KEY", raising=False)
    assert not load_sigopt_key()
    with pytest.raises(ValueError, match="SIGOPT_KEY"):
        SigOptSearch(SPACE, metric="loss", mode="min")
    (tmp_path / ".sigopt" / "client").mkdir(parents=True)
    (tmp_path / ".sigopt" / "client" / "config.json").write_text('{"api_token": "mine"}')
    assert load_sigopt_key() and not load_sigopt_key()
    assert load_sigopt_key(overwrite=True)
