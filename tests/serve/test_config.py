"""Config files: their checks, the commands that use them, and updates in place."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest
import requests
import yaml
from conftest import free_port
from ray import serve

from narke.serve._private import rest
from narke.serve.schema import ServeApplicationSchema, ServeDeploySchema

PROGRAM = """
from ray import serve
from starlette.requests import Request

@serve.deployment(user_config={"word": "first"}, ray_actor_options={"num_cpus": 0.1})
class Words:
    def __init__(self, greeting="hello"):
        self.greeting = greeting
        self.started = __import__("os").getpid()
    def reconfigure(self, config):
        self.word = config["word"]
    async def __call__(self, request: Request):
        return f"{self.greeting} {self.word} {self.started}"

app = Words.bind()

def build(args: dict):
    return Words.bind(args["greeting"])
"""


class TestChecks:
    @pytest.mark.parametrize(
        "app",
        [
            {"import_path": "nothing"},
            {"import_path": "a:b:c"},
            {"import_path": "a:b", "route_prefix": "x"},
            {"import_path": "a:b", "route_prefix": "/x/"},
            {"import_path": "a:b", "route_prefix": "/{x}"},
            {"import_path": "a:b", "what": 1},
            {"import_path": "a:b", "runtime_env": {"working_dir": "/tmp"}},
            {"import_path": "a:b", "deployments": [{"name": "d", "num_replicas": 0}]},
            {
                "import_path": "a:b",
                "deployments": [{"name": "d", "num_replicas": 2, "autoscaling_config": {}}],
            },
            {"import_path": "a:b", "deployments": [{"name": "d", "max_queued_requests": 0}]},
            {"import_path": "a:b", "deployments": [{"name": "d", "ray_actor_options": {"num_cpu": 1}}]},
        ],
    )
    def test_wrong_applications(self, app):
        with pytest.raises(ValueError):
            ServeApplicationSchema.model_validate(app)

    def test_applications_are_told_apart(self):
        one = {"name": "a", "route_prefix": "/a", "import_path": "x:y"}
        for other in ({**one, "route_prefix": "/b"}, {**one, "name": "b"}, {**one, "name": ""}):
            with pytest.raises(ValueError):
                ServeDeploySchema.model_validate({"applications": [one, other]})


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("code")
    (folder / "words.py").write_text(PROGRAM)
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    yield folder
    sys.path.remove(str(folder))


def deploy(served, *apps):
    config = {"http_options": {"port": served.port}, "applications": list(apps)}
    status, answer = rest.handle("PUT", "/api/serve/applications/", json.dumps(config).encode())
    assert status == 200, answer


def app_of(name="words", **options):
    return {"name": name, "route_prefix": f"/{name}", "import_path": "words:app", **options}


def until_running(*names):
    deadline = time.monotonic() + 60
    while True:
        apps = serve.status().applications
        if all(name in apps and apps[name].status == "RUNNING" for name in names):
            return
        assert time.monotonic() < deadline, apps
        time.sleep(0.02)


def word(served, name="words"):
    return requests.get(f"{served.url}/{name}", timeout=30).text.split()


def test_configs_are_deployed_and_updated_in_place(program, clean):
    deploy(clean, app_of(), app_of("other", import_path="words:build", args={"greeting": "hi"}))
    until_running("words", "other")
    before = word(clean)
    assert before[:2] == ["hello", "first"] and word(clean, "other")[:2] == ["hi", "first"]
    deploy(
        clean, app_of(deployments=[{"name": "Words", "user_config": {"word": "second"}, "num_replicas": 2}])
    )
    deadline = time.monotonic() + 60
    while word(clean)[1] != "second" or "other" in serve.status().applications:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    until_running("words")
    assert before[2] in {word(clean)[2] for _ in range(40)}, "the old replica was kept"


def test_an_application_that_cannot_be_built_says_why(program, clean):
    deploy(clean, app_of("broken", import_path="words:nothing"))
    deadline = time.monotonic() + 60
    while serve.status().applications["broken"].status != "DEPLOY_FAILED":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "nothing" in serve.status().applications["broken"].message


def test_details_are_those_of_the_rest_api(program, clean):
    deploy(clean, app_of())
    until_running("words")
    status, details = rest.handle("GET", "/api/serve/applications/?api_type=declarative")
    assert status == 200
    json.dumps(details)
    app = details["applications"]["words"]
    assert app["status"] == "RUNNING" and app["deployed_app_config"]["import_path"] == "words:app"
    (replica,) = app["deployments"]["Words"]["replicas"]
    assert (
        replica["state"] == "RUNNING"
        and replica["pid"]
        and replica["actor_name"].startswith("SERVE_REPLICA::")
    )
    assert rest.handle("GET", "/api/nothing")[0] == 404
    assert rest.handle("PUT", "/api/serve/applications/", b'{"applications": 1}')[0] == 400


def test_the_command(program, tmp_path):
    """`serve build`, and `serve run` with what it wrote, in a cluster of its own."""
    package = str(pathlib.Path(serve.__file__).resolve().parents[2])
    env = {
        **os.environ,
        "NARKE_AS_RAY": "1",
        "PYTHONPATH": f"{package}{os.pathsep}{os.environ['PYTHONPATH']}",
    }
    env.pop("RAY_ADDRESS", None)
    command = [
        sys.executable,
        "-c",
        "from narke import _alias; _alias.install(); from narke._cli import main; main()",
    ]
    built = subprocess.run(
        [*command, "serve", "build", "words:app"],
        env=env,
        capture_output=True,
        text=True,
        cwd=program,
        timeout=60,
    )
    config = yaml.safe_load(built.stdout)
    assert config["applications"][0]["import_path"] == "words:app", built.stderr
    port = free_port()
    config["http_options"] = {"host": "127.0.0.1", "port": port}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    ran = subprocess.run(
        [*command, "serve", "run", "--non-blocking", str(path)],
        env=env,
        capture_output=True,
        text=True,
        cwd=program,
        timeout=100,
    )
    assert "Submitted deploy config successfully." in ran.stdout, ran.stderr
