"""Nodes that are not the head: their own endpoints, and their logs when they are gone. Logs that grow and grow old."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest
from heads import _COMMAND, MARK, Head, free_port
from waiting import wait_for

SPEAKER = """
import sys
import narke
narke.init()

@narke.remote(resources={"member": 1}, num_cpus=0)
def speak(text):
    print(text)
    return 1

narke.get(speak.remote("the member's words"))
print("READY", flush=True)
sys.stdin.readline()
"""
WRITER = """
import narke
narke.init(log_to_driver=False)

@narke.remote
class Writer:
    def write(self, start, lines):
        for number in range(start, start + lines):
            print(f"line {number:06d} " + "." * 50)
        return 1

writer = Writer.remote()
for start in range(0, 6000, 200):
    narke.get(writer.write.remote(start, 200))
"""


def run(program, head, **options):
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "NARKE_ADDRESS": head.session, **options},
    )


@pytest.fixture
def cluster():
    """A head and a member with JSON logs, both of which the test may end."""
    head = Head(1, env={"RAY_BACKEND_LOG_JSON": "1"})
    try:
        yield head
    finally:
        head.stop()


def start_member(head, *words):
    """A node that joins; returns its process and its session's folder."""
    before = set(pathlib.Path(head.folder, "narke").iterdir())
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, "start", "--block", f"--address={head.info['address']}", "--num-cpus=1",
         '--resources={"member": 1}', *words],
        env={**os.environ, "RAY_TMPDIR": head.folder, MARK: head.mark, "RAY_BACKEND_LOG_JSON": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert "joined" in (said := process.stdout.readline()), said + process.stdout.read()
    made = set(pathlib.Path(head.folder, "narke").iterdir()) - before
    [session] = [each for each in made if each.name.startswith("session_")]
    return process, session


def metrics_of(head, port, query=""):
    answer = head.ask("GET", f"/metrics{query}", token=False, port=port)
    assert answer.status == 200, answer.text
    return answer.text


def hosts_in(text):
    """The nodes whose figures are in a scrape."""
    lines = [line for line in text.splitlines() if line.startswith("ray_node_mem_total{")]
    return {line.partition('NodeId="')[2].partition('"')[0] for line in lines}


def test_every_node_has_an_endpoint_and_none_is_scraped_twice(cluster):
    agent, metrics = free_port(), free_port()
    member, session = start_member(
        cluster, "--dashboard-host=0.0.0.0", f"--metrics-export-port={metrics}",
        f"--dashboard-agent-listen-port={agent}",
    )  # fmt: skip
    try:
        node = (session / "node_id").read_text().strip()
        assert hosts_in(metrics_of(cluster, metrics)) == {node}
        assert "ray_cluster_active_nodes" not in metrics_of(cluster, metrics)
        head_port = cluster.info["metrics_port"]
        assert node not in hosts_in(metrics_of(cluster, head_port))
        assert node in hosts_in(metrics_of(cluster, head_port, "?all=1"))
        own = json.loads((session / "info.json").read_text())
        target = f"{own['ip']}:{metrics}"
        wait_for(
            lambda: target in cluster.ask("GET", "/api/prometheus/sd").json()[0]["targets"],
            what="the member among the targets",
        )
        for path in ("/api/healthz", "/api/local_raylet_healthz"):
            assert cluster.ask("GET", path, token=False, port=agent).status == 200
        assert cluster.ask("GET", "/api/narke/logs", token=False, port=agent).status == 401
        files = cluster.ask("GET", "/api/narke/logs", port=agent).json()["files"]
        assert {file["node_id"] for file in files} == {node}
        assert cluster.ask("GET", "/api/jobs/", port=agent).status == 404
    finally:
        member.terminate()
        member.wait(30)
        member.stdout.close()


def test_a_member_that_nobody_else_reaches_is_told_of_by_the_head(cluster):
    member, session = start_member(cluster)
    try:
        node = (session / "node_id").read_text().strip()
        assert node in hosts_in(metrics_of(cluster, cluster.info["metrics_port"]))
    finally:
        member.terminate()
        member.wait(30)
        member.stdout.close()


def test_logs_of_a_node_that_was_killed_are_kept(cluster):
    member, session = start_member(cluster)
    speaker = run(SPEAKER, cluster)
    assert any("READY" in line for line in speaker.stdout)
    node = (session / "node_id").read_text().strip()
    kept = pathlib.Path(cluster.session, "kept-logs", node)
    wait_for(
        lambda: any("the member's words" in each.read_text() for each in kept.glob("worker-*.out")),
        what="the copy of the member's log",
    )
    task = wait_for(
        lambda: cluster.ask("GET", "/api/v0/tasks?filter_keys=name&filter_predicates==&filter_values=speak").json()[
            "data"
        ]["result"]["result"],
        what="the task",
    )[0]  # fmt: skip
    os.kill(json.loads((session / "info.json").read_text())["node_pid"], 9)
    member.wait(30)
    member.stdout.close()
    speaker.communicate("\n", timeout=30)
    name = wait_for(
        lambda: next(
            (
                match["file"]
                for match in cluster.ask("GET", "/api/narke/logs/search?query=member's+words").json()[
                    "matches"
                ]
            ),
            None,
        ),
        timeout_s=40,
        what="the log of the node that is gone",
    )
    assert name.startswith(f"gone-{node[:16]}/worker-")
    there = f"/api/v0/logs/file?node_id={node}&filename={name.partition('/')[2]}"
    assert "the member's words" in cluster.ask("GET", there).text
    assert task["task_id"]


def test_daemons_write_json_when_asked_to(cluster):
    def records():
        lines = pathlib.Path(cluster.session, "logs", "narke-node.log").read_text().splitlines()
        return [json.loads(line) for line in lines]

    wait_for(
        lambda: any(record["message"].startswith("ready") for record in records()), what="the node's words"
    )
    assert {"asctime", "levelname", "component", "pid", "message"} <= records()[0].keys()


def test_programs_log_json_when_asked_to(cluster):
    program = (
        "import logging, narke; narke.init()\n"
        "@narke.remote\n"
        "def f():\n"
        "    logging.getLogger('mine').warning('from a task')\n"
        "narke.get(f.remote())\n"
        "logging.getLogger('mine').warning('from the driver')\n"
    )
    driver = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "NARKE_ADDRESS": cluster.session, "RAY_LOGGING_CONFIG_ENCODING": "JSON"},
    )
    own = [json.loads(line) for line in driver.stderr.splitlines() if "from the driver" in line]
    assert own[0]["levelname"] == "WARNING" and own[0]["job_id"]

    def of_tasks():
        texts = [path.read_text() for path in pathlib.Path(cluster.session, "logs").glob("worker-*.err")]
        lines = [line for text in texts for line in text.splitlines() if "from a task" in line]
        return [json.loads(line) for line in lines]

    record = wait_for(of_tasks, what="the task's line")[0]
    assert record["message"] == "from a task" and record["task_func_name"].endswith("f") and record["task_id"]


def test_a_log_that_grows_is_rotated_and_loses_no_line():
    head = Head(1, env={"RAY_ROTATION_MAX_BYTES": "100000", "RAY_ROTATION_BACKUP_COUNT": "3"})
    try:
        writer = run(WRITER, head)
        writer.communicate(timeout=60)
        assert writer.returncode == 0
        logs = pathlib.Path(head.session, "logs")

        def parts():
            return sorted(logs.glob("worker-*.out*"), key=lambda each: each.stat().st_size)

        wait_for(lambda: any(part.suffix == ".1" for part in parts()), what="a file that was rotated")
        assert {part.suffix for part in parts()} <= {".out", ".1", ".2", ".3"}
        text = "".join(part.read_text() for part in parts())
        numbers = sorted(int(line.split()[1]) for line in text.splitlines() if line.startswith("line"))
        # Each line is there once, up to the last; the oldest may have gone with their file.
        assert numbers == list(range(numbers[0], 6000))
        shown = head.ask("GET", "/api/narke/logs").json()["files"]
        assert {part.name for part in parts()} <= {file["name"] for file in shown}
    finally:
        head.stop()


def test_old_logs_go_when_the_node_looks():
    """What `prune_logs` removes is in src/base/log_files_test.cc; here: that a node does it to its own folder."""
    head = Head(1, env={"NARKE_LOG_KEEP_DAYS": "0.0001"})
    try:
        old = pathlib.Path(head.session, "logs", "worker-0123456789abcdef.out")
        old.write_text("long ago\n")
        hour_ago = time.time() - 3600
        os.utime(old, (hour_ago, hour_ago))
        wait_for(lambda: not old.exists(), timeout_s=30, what="the end of the old log")
    finally:
        head.stop()


def test_a_head_takes_any_free_port_when_told_to():
    head = Head(1, "--port=0")
    try:
        port = head.info["port"]
        assert port not in (0, 6379) and head.info["address"].endswith(f":{port}")
    finally:
        head.stop()
