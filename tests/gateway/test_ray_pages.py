"""What pages of Ray's dashboard ask beyond the state: profiles, runs of Data and Train, monitors."""

import http.server
import json
import os
import re
import subprocess
import sys
import threading

import pytest
from heads import Head

PROGRAM = """
import os, sys, tempfile, threading
import narke
from narke import data, train
from narke.train import RunConfig, ScalingConfig
from narke.train.data_parallel_trainer import DataParallelTrainer

narke.init(log_to_driver=False)

@narke.remote(num_cpus=0)
class Grower:
    def pid(self):
        return os.getpid()

    def grows(self):
        kept = []
        while True:
            kept.append(allocated())
            if len(kept) > 200:
                kept.clear()
            threading.Event().wait(0.005)

def allocated():
    return bytearray(100_000)

def learn(config):
    shard = train.get_dataset_shard("numbers")
    train.report({"rows": sum(len(batch["id"]) for batch in shard.iter_batches())})

data.range(1000, override_num_blocks=4).map_batches(lambda batch: {"double": batch["id"] * 2}).materialize()
DataParallelTrainer(
    learn,
    train_loop_config={"rate": 0.5},
    datasets={"numbers": data.range(100)},
    scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.5}),
    run_config=RunConfig(name="curve", storage_path=sys.argv[1]),
).fit()
grower = Grower.remote()
pid = narke.get(grower.pid.remote())
grower.grows.remote()
print("READY", pid, narke.get_runtime_context().get_job_id(), flush=True)
sys.stdin.readline()
"""

ANSWERS = {
    "/api/v1/query": {"status": "success", "data": {}},
    "/api/health": {"database": "ok", "version": "11"},
}


class Monitors(http.server.BaseHTTPRequestHandler):
    """A Prometheus and a Grafana in one."""

    def do_GET(self):  # the base class's name
        body = json.dumps(ANSWERS.get(self.path.partition("?")[0], {})).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        """Nothing: the test's output is its own."""


@pytest.fixture(scope="module")
def monitors():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Monitors)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def head(monitors):
    started = Head(cpus=2, env={"RAY_PROMETHEUS_HOST": monitors, "RAY_GRAFANA_HOST": monitors})
    yield started
    started.stop()


@pytest.fixture(scope="module")
def program(head, tmp_path_factory):
    """A driver that has used Data and Train, and the pid of its actor and the id of its job."""
    folder = tmp_path_factory.mktemp("runs")
    script = folder / "program.py"
    script.write_text(PROGRAM)
    driver = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "NARKE_ADDRESS": head.session},
    )
    line = next((line for line in driver.stdout if line.startswith("READY")), None)
    assert line, "the program has failed"
    driver.actor, driver.job = int(line.split()[1]), line.split()[2]
    yield driver
    driver.communicate("\n", timeout=60)


class TestMemory:
    def test_the_peak_is_told_by_chains_of_calls(self, head, program):
        answer = head.ask("GET", f"/api/narke/memory_profile?pid={program.actor}&duration=1").json()
        assert answer["kind"] == "peak"
        largest = answer["stacks"][0]
        functions = [frame["function"] for frame in largest["frames"]]
        assert functions[-1] == "allocated" and any(name.endswith("grows") for name in functions), functions
        assert largest["count"] >= 1_000_000 and largest["blocks"] >= 10
        assert answer["peak_bytes"] >= largest["count"]
        assert answer["resident_bytes"] > 10**6

    def test_as_a_graph_a_table_and_lines(self, head, program):
        node = head.ask("GET", "/api/v0/nodes").json()["data"]["result"]["result"][0]["node_id"]
        whom = f"/memory_profile?pid={program.actor}&node_id={node}&duration=1&leaks=1"
        graph = head.ask("GET", whom)
        assert graph.headers["content-type"] == "image/svg+xml" and "allocated (" in graph.text
        table = head.ask("GET", whom + "&format=table")
        assert re.search(r"<td>\d{6,}</td><td>\d+</td><td>allocated \(", table.text), table.text[:2000]
        lines = head.ask("GET", whom + "&format=raw").text.splitlines()
        assert any("grows" in line and "allocated" in line for line in lines)

    @pytest.mark.parametrize(
        ("words", "status", "told"),
        [
            ("format=pdf&pid=1", 400, "choose flamegraph, table"),
            ("pid=1&duration=3600", 400, "from 1 to 60"),
            ("duration=1", 400, "which process"),
            ("task_id=00&duration=1", 400, "no task_id"),
            ("pid=1&duration=1", 404, "no process 1"),
        ],
    )
    def test_questions_without_sense(self, head, words, status, told):
        answer = head.ask("GET", f"/memory_profile?{words}")
        assert (answer.status, told in answer.text) == (status, True), answer.text


class TestTorch:
    TRAINING = """
import os, sys, threading
import torch
import narke
narke.init(log_to_driver=False)
model = torch.nn.Linear(4, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
stopping = threading.Event()
def train():
    while not stopping.wait(0.01):
        optimizer.zero_grad()
        model(torch.ones(2, 4)).sum().backward()
        optimizer.step()
thread = threading.Thread(target=train)
thread.start()
print("READY", flush=True)
sys.stdin.readline()
stopping.set()
thread.join()
"""

    def test_a_trace_of_some_steps(self, head):
        pytest.importorskip("torch")
        driver = subprocess.Popen(
            [sys.executable, "-c", self.TRAINING],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "NARKE_ADDRESS": head.session},
        )
        try:
            assert "READY" in driver.stdout.readline()
            answer = head.ask("GET", f"/worker/gpu_profile?pid={driver.pid}&num_iterations=3&duration=30")
            assert answer.status == 302, answer.text
            trace = head.ask("GET", answer.headers["location"]).json()
            names = {event.get("name") for event in trace["traceEvents"]}
            assert any(name and name.startswith("Optimizer.step") for name in names), names
        finally:
            driver.communicate("\n", timeout=60)

    def test_a_program_without_torch_says_so(self, head, program):
        answer = head.ask("GET", f"/worker/gpu_profile?pid={program.actor}")
        assert answer.status == 400 and "has not imported torch" in answer.text


def test_how_programs_are_profiled(head):
    answer = head.ask("GET", "/api/profiling_enabled").json()
    assert answer["data"]["profilingEnabled"]
    assert answer["data"]["profilingDefaults"]["maxDuration"] == 60


def test_datasets_of_a_job(head, program):
    rows = head.ask("GET", f"/api/data/datasets/{program.job}").json()["datasets"]
    (row,) = rows  # the other one is small enough for the driver alone
    assert row["state"] == "FINISHED" and row["progress"] == row["total"] > 0
    assert row["end_time"] >= row["start_time"] > 10**9
    assert row["operators"][-1]["total_rows"] == row["total_rows"] == 100
    assert head.ask("GET", "/api/data/datasets/ffffffff").json() == {"datasets": []}


class TestTrain:
    def test_runs_in_the_fields_of_the_second_generation(self, head, program):
        (run,) = head.ask("GET", "/api/train/v2/runs/v1").json()["train_runs"]
        assert (run["name"], run["status"], run["job_id"]) == ("curve", "FINISHED", program.job)
        assert run["end_time_ns"] > run["start_time_ns"] > 10**18
        settings = run["run_settings"]
        assert settings["train_loop_config"] == {"rate": 0.5}
        assert settings["datasets"] == ["numbers"]
        assert settings["scaling_config"]["num_workers"] == 1
        (attempt,) = run["attempts"]
        (worker,) = attempt["workers"]
        assert attempt["status"] == "FINISHED" and worker["world_rank"] == worker["local_rank"] == 0
        assert worker["status"] == "DEAD" and len(worker["actor_id"]) == 32
        assert run["job_details"]["job_id"] == program.job

    def test_rays_own_schema_takes_them(self, head, program, rays_python):
        text = head.ask("GET", "/api/train/v2/runs/v1").text
        code = (
            "import sys; from ray.train.v2._internal.state.schema import TrainRunsResponse; "
            "print(TrainRunsResponse.parse_raw(sys.stdin.read()).train_runs[0].name)"
        )
        done = subprocess.run(
            [rays_python, "-c", code], input=text, capture_output=True, text=True, timeout=60
        )
        assert done.stdout.strip() == "curve", done.stderr[-2000:]

    def test_runs_in_the_fields_of_the_first_generation(self, head, program):
        (run,) = head.ask("GET", "/api/train/v2/runs").json()["train_runs"]
        assert (run["run_status"], run["datasets"][0]["name"]) == ("FINISHED", "numbers")
        assert run["workers"][0]["pid"] > 0


@pytest.fixture(scope="module")
def rays_python():
    """An interpreter that has the real Ray with Train's schemas."""
    python = os.environ.get("NARKE_PEER_PYTHON", "")
    if not python or not os.path.exists(python):
        pytest.skip("NARKE_PEER_PYTHON names no interpreter with the real Ray")
    asked = subprocess.run([python, "-c", "import ray.train.v2._internal.state.schema"], capture_output=True)
    if asked.returncode:
        pytest.skip("the peer has no Train")
    return python


class TestMonitors:
    def test_that_are_well(self, head):
        answer = head.ask("GET", "/api/prometheus_health")
        assert answer.status == 200 and answer.json()["msg"] == "prometheus running"
        data = head.ask("GET", "/api/grafana_health").json()["data"]
        assert data["grafanaHost"].startswith("http://127.0.0.1:") and data["sessionName"]

    def test_that_are_not_there(self, monkeypatch):
        from heads import free_port

        from narke._private import monitors

        monkeypatch.setenv("RAY_PROMETHEUS_HOST", f"http://127.0.0.1:{free_port()}")
        monkeypatch.setenv("RAY_GRAFANA_HOST", "file:///etc/passwd")
        good, message, data = monitors.prometheus()
        assert not good and "failed" in message and "refused" in data["reason"]
        good, _, data = monitors.grafana("session")
        assert not good and "no http" in data["exception"]
        monkeypatch.setenv("RAY_GRAFANA_HOST", "DISABLED")
        assert monitors.grafana("session") == (True, "Grafana disabled", {"grafanaHost": "DISABLED"})
