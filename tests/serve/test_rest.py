"""Serve's REST API on the dashboard's port, and the commands that use it."""

import json
import os
import subprocess
import sys

import pytest
import ray
import requests
import yaml
from conftest import free_port
from test_config import PROGRAM
from waiting import wait_for

from narke._private.gateway_address import find_gateway

PATH = "/api/serve/applications/"


class Dashboard:
    """A cluster whose workers find the program's module, and its REST API."""

    def __init__(self, folder):
        (folder / "rest_words.py").write_text(PROGRAM)
        os.environ["PYTHONPATH"] = f"{folder}:{os.environ.get('PYTHONPATH', '')}"
        self.folder = folder
        context = ray.init(address="local", num_cpus=4, log_to_driver=False)
        self.url, token = find_gateway(context.address_info["session_dir"])
        self.session_dir = context.address_info["session_dir"]
        self.headers = {"Authorization": f"Bearer {token}"}
        self.port = free_port()

    def ask(self, method, body=None, path=PATH):
        return requests.request(method, self.url + path, json=body, headers=self.headers, timeout=60)

    def config(self, **app):
        words = {"name": "words", "import_path": "rest_words:app", **app}
        return {
            "proxy_location": "HeadOnly",
            "http_options": {"host": "127.0.0.1", "port": self.port},
            "applications": [words],
        }

    def apps(self):
        return self.ask("GET").json()["applications"]

    def until_running(self, name="words"):
        wait_for(lambda: self.apps().get(name, {}).get("status") == "RUNNING", what=f"{name} runs")

    def command(self, *words):
        code = "import sys; from narke._cli import main; sys.exit(main(sys.argv[1:]))"
        return subprocess.run(
            [sys.executable, "-c", code, "serve", *words],
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory):
    before = os.environ.get("PYTHONPATH")
    yield Dashboard(tmp_path_factory.mktemp("rest"))
    ray.shutdown()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def test_nothing_is_there_before_anything_is_deployed(dashboard):
    assert dashboard.apps() == {}
    assert dashboard.ask("DELETE").status_code == 200


def test_put_deploys_get_shows_delete_ends(dashboard):
    answer = dashboard.ask("PUT", dashboard.config())
    assert answer.status_code == 200, answer.text
    dashboard.until_running()
    assert requests.get(f"http://127.0.0.1:{dashboard.port}/", timeout=10).text.startswith("hello first")
    shown = dashboard.ask("GET").json()
    assert shown["http_options"]["port"] == dashboard.port
    assert shown["applications"]["words"]["deployed_app_config"]["import_path"] == "rest_words:app"
    assert [each["status"] for each in shown["proxies"].values()] == ["HEALTHY"]
    assert dashboard.ask("DELETE").status_code == 200
    assert dashboard.apps() == {}


def test_scaling_needs_leave(dashboard):
    config = dashboard.config(external_scaler_enabled=True)
    dashboard.ask("PUT", config).raise_for_status()
    dashboard.until_running()
    path = "/api/v1/applications/words/deployments/{}/scale"
    assert dashboard.ask("POST", {"target_num_replicas": 2}, path.format("Words")).status_code == 200
    wait_for(
        lambda: len(dashboard.apps()["words"]["deployments"]["Words"]["replicas"]) == 2, what="two replicas"
    )
    missing = dashboard.ask("POST", {"target_num_replicas": 2}, path.format("Other"))
    assert missing.status_code == 412 and "Other" in missing.text
    dashboard.ask("DELETE").raise_for_status()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"applications": [{"import_path": "nothing"}]}, "import path"),
        ({"applications": [{"import_path": "a:b", "what": 1}]}, "what"),
        ({}, "applications"),
    ],
)
def test_wrong_configs_are_refused(dashboard, body, why):
    answer = dashboard.ask("PUT", body)
    assert answer.status_code == 400 and why in answer.text


def test_what_is_not_json_is_refused(dashboard):
    headers = {**dashboard.headers, "Content-Type": "application/json"}
    answer = requests.put(dashboard.url + PATH, data="{", headers=headers, timeout=60)
    assert answer.status_code == 400


def test_a_stranger_may_not(dashboard):
    assert requests.delete(dashboard.url + PATH, timeout=10).status_code in (401, 403)


def test_the_proxy_is_no_job(dashboard):
    dashboard.ask("PUT", dashboard.config()).raise_for_status()
    dashboard.until_running()
    jobs = dashboard.ask("GET", path="/api/jobs/").json()
    assert len(jobs) == 1, jobs
    dashboard.ask("DELETE").raise_for_status()


def test_commands_over_http(dashboard):
    path = dashboard.folder / "words.yaml"
    path.write_text(json.dumps(dashboard.config()))
    sent = dashboard.command("deploy", "-a", dashboard.url, str(path))
    assert sent.returncode == 0, sent.stderr
    dashboard.until_running()
    status = dashboard.command("status", "-a", dashboard.url)
    assert yaml.safe_load(status.stdout)["applications"]["words"]["status"] == "RUNNING"
    config = dashboard.command("config", "-a", dashboard.url)
    assert yaml.safe_load(config.stdout)["import_path"] == "rest_words:app"
    ended = dashboard.command("shutdown", "-y", "-a", dashboard.url)
    assert ended.returncode == 0, ended.stderr
    assert dashboard.apps() == {}
    path.write_text(json.dumps({"applications": [{"import_path": "nothing"}]}))
    refused = dashboard.command("deploy", "-a", dashboard.url, str(path))
    assert refused.returncode == 1 and "import path" in refused.stderr
