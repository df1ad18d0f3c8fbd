"""State, logs and metrics over HTTP, of a cluster on which something runs."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.parse

import pytest
from heads import free_port
from waiting import wait_for

PROGRAM = """
import sys, time
import narke
from narke.util.metrics import Counter, Gauge, Histogram
narke.init()

@narke.remote
def square(x):
    print("squaring", x)
    return x * x

@narke.remote
def fails():
    raise ValueError("no")

@narke.remote(num_cpus=0)
def spins():
    while True:
        burn()
        time.sleep(0.01)

def burn():
    return sum(i * i for i in range(200_000))

@narke.remote(num_cpus=0.5)
class Keeper:
    def __init__(self):
        self.counter = Counter("things", "Things seen", tag_keys=("kind",))
        self.gauge = Gauge("level")
        self.histogram = Histogram("sizes", boundaries=[1.0, 10.0])
    def ping(self):
        self.counter.inc(2, {"kind": 'a"b'})
        self.gauge.set(1.5)
        self.histogram.observe(5)
        print("pinged")
        return 1

keeper = Keeper.options(name="keeper", namespace="tests").remote()
group = narke.util.placement_group([{"CPU": 0.5}], name="corner")
narke.get(group.ready())
narke.get(keeper.ping.remote())
print(sum(narke.get([square.remote(i) for i in range(5)])))
try:
    narke.get(fails.remote())
except ValueError:
    pass
big = narke.put(b"x" * 1_000_000)
spinning = spins.remote()
print("READY", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def busy(head, tmp_path_factory):
    """A driver with an actor, tasks, a placement group, an object and metrics."""
    script = tmp_path_factory.mktemp("busy") / "busy.py"
    script.write_text(PROGRAM)
    driver = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "NARKE_ADDRESS": head.session},
    )
    for line in driver.stdout:
        if "READY" in line:
            break
    yield driver
    driver.communicate("\n", timeout=30)


def rows(head, table, **query):
    answer = head.ask("GET", f"/api/v0/{table}?{urllib.parse.urlencode(query, doseq=True)}")
    assert answer.status == 200, answer.text
    body = answer.json()
    assert body["result"] is True
    return body["data"]["result"]["result"]


def where(**conditions):
    return {
        "filter_keys": list(conditions),
        "filter_predicates": ["="] * len(conditions),
        "filter_values": list(conditions.values()),
    }


def test_actors_have_rays_columns(head, busy):
    (actor,) = rows(head, "actors", **where(class_name="Keeper"))
    assert set(actor) == {
        "actor_id", "class_name", "state", "job_id", "name", "node_id", "pid", "ray_namespace",
    }  # fmt: skip
    assert (actor["state"], actor["name"], actor["ray_namespace"]) == ("ALIVE", "keeper", "tests")
    (detailed,) = rows(head, "actors", detail="true", **where(class_name="keeper", state="alive"))
    assert detailed["required_resources"]["CPU"] == 0.5 and "death_cause" in detailed
    assert rows(head, "actors", **where(class_name="Nobody")) == []
    assert (
        rows(head, "actors", filter_keys="state", filter_predicates="!=", filter_values="ALIVE", limit=1)
        is not None
    )


def eventually(ask):
    """The first answer that is not empty: workers tell of their tasks in batches."""
    deadline = time.monotonic() + 20
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


def test_other_tables(head, busy):
    (node,) = rows(head, "nodes")
    assert node["is_head_node"] is True and node["state"] == "ALIVE" and node["resources_total"]["CPU"] == 2
    assert all(len(worker["worker_id"]) == 56 for worker in rows(head, "workers"))
    assert [group["state"] for group in rows(head, "placement_groups", **where(name="corner"))] == ["CREATED"]
    assert any(each["object_size"] >= 1_000_000 for each in rows(head, "objects"))
    assert any(job["type"] == "DRIVER" and job["status"] == "RUNNING" for job in rows(head, "jobs"))
    assert eventually(lambda: rows(head, "tasks", **where(name="square")))


def test_wrong_questions_are_refused(head):
    for query, text in (
        ("limit=10001", "exceeds the supported limit"),
        ("limit=many", "whole number"),
        ("filter_keys=nothing&filter_predicates==&filter_values=1", "Invalid filter key"),
        ("filter_keys=state&filter_predicates=>&filter_values=1", "Invalid filter predicate"),
        ("filter_keys=state", "equally often"),
        ("sort_by=nothing", "no column"),
    ):
        answer = head.ask("GET", f"/api/v0/actors?{query}")
        assert answer.status == 400 and text in answer.json()["msg"], query
        assert answer.json()["result"] is False
    assert head.ask("GET", "/api/v0/nothing").status == 404


def test_summaries(head, busy):
    def cluster(kind):
        answer = head.ask("GET", f"/api/v0/{kind}/summarize").json()
        return answer["data"]["result"]["result"]["node_id_to_summary"]["cluster"]

    assert cluster("actors")["summary"]["Keeper"]["state_counts"]["ALIVE"] == 1
    assert eventually(lambda: cluster("tasks")["summary"].get("square", {}).get("state_counts"))
    assert cluster("objects")["total_objects"] >= 1


class TestLookingIntoPrograms:
    """Stacks and profiles by Ray's paths and parameters."""

    @pytest.fixture
    def spinning(self, head, busy):
        return eventually(lambda: rows(head, "tasks", detail="true", **where(name="spins", state="RUNNING")))[
            0
        ]

    def test_a_stack_dump(self, head, spinning):
        answer = head.ask(
            "GET", f"/worker/traceback?pid={spinning['worker_pid']}&node_id={spinning['node_id']}"
        )
        assert answer.status == 200, answer.text
        assert "spins" in answer.text and "MainThread" in answer.text

    def test_of_the_worker_that_runs_a_task(self, head, spinning):
        answer = head.ask("GET", f"/task/traceback?task_id={spinning['task_id']}&attempt_number=0")
        assert answer.status == 200 and "spins" in answer.text

    def test_a_flame_graph(self, head, spinning):
        answer = head.ask(
            "GET", f"/worker/cpu_profile?pid={spinning['worker_pid']}&duration=1&format=flamegraph"
        )
        assert answer.status == 200, answer.text
        assert answer.text.startswith("<svg") and "burn" in answer.text
        raw = head.ask("GET", f"/task/cpu_profile?task_id={spinning['task_id']}&duration=1&format=raw")
        assert any("spins" in line and "burn" in line for line in raw.text.splitlines())

    @pytest.mark.parametrize(
        ("path", "status", "told"),
        [
            ("/worker/traceback", 400, "which process"),
            ("/worker/traceback?pid=1", 404, "no process 1"),
            ("/worker/traceback?pid=x", 400, "whole number"),
            ("/worker/cpu_profile?pid=1&format=pdf", 400, "no format 'pdf'"),
            ("/worker/cpu_profile?pid=1&duration=3600", 400, "from 1 to 60"),
            ("/task/traceback", 400, "which task"),
        ],
    )
    def test_questions_without_sense(self, head, path, status, told):
        answer = head.ask("GET", path)
        assert answer.status == status, answer.text
        assert told in answer.text


def test_references_of_programs(head, busy):
    held = [row for row in rows(head, "objects", detail="true") if row["pid"] == busy.pid]
    assert {"LOCAL_REFERENCE", "ACTOR_HANDLE"} <= {row["reference_type"] for row in held}
    assert all(row["type"] == "DRIVER" for row in held)


def test_logs_name_their_node(head, busy):
    (node,) = {file["node_id"] for file in head.ask("GET", "/api/narke/logs").json()["files"]}
    assert node == rows(head, "nodes")[0]["node_id"]
    groups = head.ask("GET", f"/api/v0/logs?node_id={node}").json()["data"]["result"]
    assert groups["worker_out"]
    elsewhere = "0" * 56
    assert head.ask("GET", f"/api/v0/logs?node_id={elsewhere}").json()["data"]["result"] == {}
    answer = head.ask("GET", f"/api/v0/logs/file?filename={groups['worker_out'][0]}&node_id={elsewhere}")
    assert answer.status == 404 and "no node" in answer.text


def test_what_rays_dashboard_asks(head, busy):
    nodes = head.ask("GET", "/nodes?view=summary").json()["data"]["summary"]
    assert nodes[0]["raylet"]["isHeadNode"] and nodes[0]["mem"][0] > 0
    node = nodes[0]["raylet"]["nodeId"]
    assert head.ask("GET", f"/nodes/{node}").json()["data"]["detail"]["ip"] == nodes[0]["ip"]
    actors = head.ask("GET", "/logical/actors").json()["data"]["actors"]
    found = next(each for each in actors.values() if each["name"] == "keeper")
    assert head.ask("GET", f"/logical/actors/{found['actorId']}").json()["data"]["detail"]["state"] == "ALIVE"
    text = head.ask("GET", "/api/cluster_status?format=1").json()["data"]["clusterStatus"]
    assert "Total Usage:" in text and "/2.0 CPU" in text
    usage = head.ask("GET", "/api/cluster_status").json()["data"]["clusterStatus"]["loadMetricsReport"][
        "usage"
    ]
    assert usage["CPU"][1] == 2
    assert head.ask("GET", "/nodes/none").status == head.ask("GET", "/logical/actors/none").status == 404


def test_timeline(head, busy):
    def spans():
        events = head.ask("GET", "/api/v0/tasks/timeline").json()
        return [event for event in events if event["ph"] == "X" and "square" in event["name"]]

    found = wait_for(spans, what="spans of the tasks")
    assert all(event["dur"] >= 0 and event["ts"] > 1e15 for event in found)


def test_logs(head, busy):
    groups = head.ask("GET", "/api/v0/logs").json()["data"]["result"]
    assert groups["worker_out"] and groups["raylet"]
    assert all(
        name.endswith(".err")
        for name in head.ask("GET", "/api/v0/logs?glob=*.err").json()["data"]["result"]["worker_err"]
    )
    (actor,) = rows(head, "actors", **where(class_name="Keeper"))
    by_actor = f"/api/v0/logs/file?actor_id={actor['actor_id']}"
    wait_for(lambda: "pinged" in head.ask("GET", by_actor).text, what="the actor's line")
    assert "pinged" in head.ask("GET", f"/api/v0/logs/file?pid={actor['pid']}&lines=-1").text
    name = next(
        each
        for each in groups["worker_out"]
        if "pinged" in head.ask("GET", f"/api/v0/logs/file?filename={each}").text
    )
    assert head.ask("GET", f"/api/v0/logs/file?filename={name}&lines=1").text.count("\n") == 1
    found = head.ask("GET", "/api/narke/logs/search?query=PINGED").json()
    assert found["complete"] and any(match["file"] == name for match in found["matches"])


def test_cve_2023_6021_logs_stay_in_their_folder(head):
    for name in ("../token", "..%2ftoken", "/etc/passwd", "old/../../token", ".", "a%00b", "%2e%2e/token"):
        answer = head.ask("GET", f"/api/v0/logs/file?filename={name}")
        assert answer.status == 400 and head.token not in answer.text, name
    os.symlink("/etc/passwd", os.path.join(head.session, "logs", "link.log"))
    assert head.ask("GET", "/api/v0/logs/file?filename=link.log").status == 404
    for query in ("", "actor_id=none", "submission_id=none", "pid=1", "filename=none.log"):
        assert head.ask("GET", f"/api/v0/logs/file?{query}").status in (400, 404)
    assert head.ask("GET", "/api/v0/logs/other?filename=x").status == 404


def test_cve_2023_48023_and_6019_nothing_fetches_or_runs_what_a_client_names(head):
    for path in (
        "/log_proxy?url=http://169.254.169.254/",
        "/worker/cpu_profile?pid=1;touch%20/tmp/owned&format=$(id)",
        "/api/v0/logs/file?node_ip=http://evil.example&filename=x",
    ):
        answer = head.ask("GET", path)
        assert "uid=" not in answer.text and answer.status != 500, path
    assert not os.path.exists("/tmp/owned")


def metrics(head):
    answer = head.ask("GET", "/metrics", token=False, port=head.info["metrics_port"])
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return answer.text


def test_metrics_of_the_cluster_and_of_users(head, busy):
    text = wait_for(lambda: "ray_things_total{" in (got := metrics(head)) and got, what="the user's metrics")
    for name in (
        "ray_node_cpu_utilization", "ray_node_mem_used", "ray_object_store_memory", "ray_actors", "ray_tasks",
        "ray_resources", "ray_placement_groups", "ray_running_jobs", "ray_component_rss_bytes",
    ):  # fmt: skip
        assert f"\n{name}{{" in text, name
    line = next(line for line in text.splitlines() if line.startswith("ray_things_total{"))
    assert 'kind="a\\"b"' in line and "WorkerId=" in line and line.endswith(" 2")
    assert (
        "ray_sizes_bucket{" in text
        and 'le="10"' in text
        and 'le="+Inf"' in text
        and "ray_sizes_count{" in text
    )
    assert "# TYPE ray_sizes histogram" in text and "# TYPE ray_things_total counter" in text
    assert 'State="USED"' in text and "ray_level{" in text


def test_service_discovery_and_charts(head, busy):
    (group,) = head.ask("GET", "/api/prometheus/sd").json()
    assert group["targets"] == [f"127.0.0.1:{head.info['metrics_port']}"]
    path = pathlib.Path(head.session, "prom_metrics_service_discovery.json")
    wait_for(path.exists, what="the service-discovery file")
    assert json.loads(path.read_text()) == [group]
    charts = wait_for(lambda: head.ask("GET", "/api/narke/charts").json(), what="the first samples")
    assert charts["cpu_percent"] and charts["actors_ALIVE"][-1][1] >= 0
    assert head.ask("GET", "/api/narke/charts?minutes=0").status == 400


@pytest.mark.skipif(not shutil.which("prometheus"), reason="Debian's package prometheus is not installed")
def test_prometheus_scrapes_it(head, busy, tmp_path):
    port = free_port()
    discovery = os.path.join(head.session, "prom_metrics_service_discovery.json")
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs: [{{job_name: ray, file_sd_configs: [{{files: ['{discovery}']}}]}}]\n"
    )
    server = subprocess.Popen(
        ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
         f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:

        def asked(query):
            try:
                answer = head.ask("GET", f"/api/v1/query?query={query}", token=False, port=port)
            except OSError:
                return None
            return answer.json()["data"]["result"] if answer.status == 200 else None

        (found,) = wait_for(lambda: asked("ray_things_total"), timeout_s=60, what="the counter in Prometheus")
        assert found["value"][1] == "2"
        assert asked("up{job='ray'}")[0]["value"][1] == "1"
        assert asked("ray_node_mem_total")
    finally:
        server.terminate()
        server.wait(20)


def test_the_gateway_stays_small(head, busy):
    status = pathlib.Path(f"/proc/{head.gateway_pid()}/status").read_text()
    resident_kib = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    assert resident_kib < 40 * 1024


def test_a_stream_follows_its_file(head):
    path = pathlib.Path(head.session, "logs", "followed.log")
    path.write_text("one\n")
    import http.client

    link = http.client.HTTPConnection("127.0.0.1", head.port, timeout=30)
    link.request(
        "GET", "/api/v0/logs/stream?filename=followed.log", headers={"Authorization": f"Bearer {head.token}"}
    )
    answer = link.getresponse()
    assert answer.readline() == b"one\n"
    with path.open("a") as file:
        file.write("two\n")
    assert answer.readline() == b"two\n"
    link.close()
    began = time.monotonic()
    assert head.ask("GET", "/api/version").status == 200 and time.monotonic() - began < 10
