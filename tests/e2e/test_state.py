"""What a cluster says of itself: in Python, on the command line, and after it is gone."""

import json
import os
import subprocess
import sys
import time

import pytest
from waiting import wait_for

import narke
from narke.profiling import profile
from narke.util import state

pytestmark = pytest.mark.usefixtures("cluster")


@narke.remote
def double(x):
    return 2 * x


@narke.remote(max_retries=0)
def broken():
    raise ValueError("boom")


@narke.remote(num_cpus=0)
class Cat:
    def __init__(self):
        self.value = 1

    def meow(self):
        return self.value


def tasks(**wanted):
    return state.list_tasks(filters=[(key, "=", value) for key, value in wanted.items()], detail=True)


def command(*words):
    code = "from narke._cli import main; import sys; sys.exit(main())"
    address = narke.get_runtime_context().gcs_address
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "RAY_ADDRESS": address},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def ran(cluster):
    """Some tasks, a failure and an actor's calls, all told of."""
    narke.get([double.options(name=f"double-{i % 2}").remote(i) for i in range(10)])
    with pytest.raises(ValueError, match="boom"):
        narke.get(broken.remote())
    cat = Cat.remote()
    narke.get([cat.meow.remote() for _ in range(3)])
    wait_for(lambda: len(tasks(func_or_class_name="double", state="FINISHED")) == 10, what="ten tasks")
    wait_for(lambda: len(tasks(func_or_class_name="Cat.meow", state="FINISHED")) == 3, what="three calls")
    wait_for(lambda: tasks(name="broken", state="FAILED"), what="the failure")
    return cat


class TestTasks:
    def test_every_task_with_its_times(self, ran):
        for task in tasks(func_or_class_name="double"):
            assert task.type == "NORMAL_TASK" and task.worker_pid and task.node_id
            assert task.creation_time_ms <= task.start_time_ms <= task.end_time_ms
            assert task.required_resources == {"CPU": 1.0}
            assert task.events[-1]["state"] == "FINISHED"
        assert {task.name for task in tasks(func_or_class_name="double")} == {"double-0", "double-1"}

    def test_failures_say_why(self, ran):
        (task,) = tasks(name="broken")
        assert (task.state, task.error_type) == ("FAILED", "TASK_EXECUTION_EXCEPTION")
        assert "ValueError: boom" in task.error_message

    def test_actors_tasks(self, ran):
        actor_id = ran._actor_id.hex()
        kinds = [task.type for task in tasks(actor_id=actor_id)]
        assert sorted(kinds) == ["ACTOR_CREATION_TASK"] + 3 * ["ACTOR_TASK"]

    def test_one_task_by_its_id(self, ran):
        (task,) = tasks(name="broken")
        assert state.get_task(task.task_id).error_type == task.error_type
        assert state.get_task("00" * 24) is None

    def test_waiting_and_running_tasks(self, ran, tmp_path):
        @narke.remote
        def until_there(path):
            while not os.path.exists(path):
                time.sleep(0.01)

        first = until_there.options(num_cpus=2).remote(str(tmp_path / "go"))
        second = double.options(name="dependent").remote(first)
        third = until_there.options(num_cpus=2, name="queued").remote(str(tmp_path / "go"))
        wait_for(lambda: tasks(name="until_there", state="RUNNING"), what="a running task")
        wait_for(lambda: tasks(name="dependent", state="PENDING_ARGS_AVAIL"), what="a dependent task")
        wait_for(lambda: tasks(name="queued", state="PENDING_NODE_ASSIGNMENT"), what="a queued task")
        (tmp_path / "go").touch()
        narke.wait([second, third], num_returns=2)
        wait_for(lambda: tasks(name="queued", state="FINISHED"), what="its end")
        assert not tasks(name="queued", state="PENDING_NODE_ASSIGNMENT")

    def test_a_killed_workers_task_has_failed(self, ran):
        @narke.remote(max_retries=0)
        def suicide():
            os._exit(3)

        with pytest.raises(narke.exceptions.WorkerCrashedError):
            narke.get(suicide.remote())
        (task,) = wait_for(lambda: tasks(name="suicide", state="FAILED"), what="the failure")
        assert task.error_type == "WORKER_DIED"

    def test_summary(self, ran):
        summary = state.summarize_tasks()["cluster"]
        assert summary["summary"]["double"]["state_counts"]["FINISHED"] >= 10
        assert summary["summary"]["Cat.meow"]["type"] == "ACTOR_TASK"

    @pytest.mark.parametrize(
        ("filters", "text"),
        [
            ([("colour", "=", "red")], "colour"),
            ([("task_id", "=", "zz")], "48 hexadecimal digits"),
        ],
    )
    def test_bad_filters(self, ran, filters, text):
        with pytest.raises(state.exception.RayStateApiException, match=text):
            state.list_tasks(filters=filters)


class TestTimeline:
    def test_tasks_and_profiles(self, ran):
        @narke.remote
        def measured():
            with profile("load", {"rows": 3}):
                time.sleep(0.01)

        narke.get(measured.remote())
        wait_for(lambda: tasks(name="measured", state="FINISHED"), what="the task")
        events = [event for event in narke.timeline() if event["ph"] == "X"]
        (task,) = [event for event in events if event["name"] == "measured"]
        (load,) = [event for event in events if event["cat"] == "load"]
        assert load["args"]["rows"] == 3 and load["tid"] == task["tid"]
        assert task["ts"] <= load["ts"] and load["ts"] + load["dur"] <= task["ts"] + task["dur"] + 1000
        assert load["args"]["task_id"] == task["args"]["task_id"]


class TestCommands:
    def test_list(self, ran):
        shown = command("list", "tasks", "--filter", "name=broken", "--format", "json")
        (task,) = json.loads(shown.stdout)
        assert task["state"] == "FAILED"
        assert "TASK_ID" in command("list", "tasks").stdout
        (actor,) = json.loads(command("list", "actors", "-f", "class_name=Cat", "--format", "json").stdout)
        assert actor["state"] == "ALIVE"

    def test_get_and_summary(self, ran):
        (task,) = tasks(name="broken")
        assert "ValueError: boom" in command("get", "tasks", task.task_id).stdout
        assert "Cat.meow" in command("summary", "tasks").stdout

    def test_status_begins_no_job(self, ran):
        before = len(state.list_jobs())
        shown = command("status")
        assert "CPU" in shown.stdout and shown.returncode == 0
        assert len(state.list_jobs()) == before

    @pytest.mark.parametrize(
        "kind", ["nodes", "workers", "jobs", "objects", "placement-groups", "cluster-events"]
    )
    def test_every_kind_is_listed(self, ran, kind):
        assert command("list", kind).returncode == 0

    def test_memory_and_logs(self, ran):
        ref = narke.put(b"x" * 300_000)
        assert ref.hex() in command("memory").stdout
        assert "worker_out" in command("logs").stdout

    @pytest.mark.parametrize(
        ("words", "status", "text"),
        [
            (("list", "tasks", "--filter", "state"), 1, "key=value"),
            (("list", "tasks", "--filter", "colour=red"), 1, "colour"),
            (("list", "pets"), 2, "invalid choice"),
            (("get", "tasks", "00" * 24), 1, "narke list tasks"),
            (("history", "/nowhere"), 1, "session's folder"),
            (("status", "--address", "10.0.0.1:1"), 1, "no running cluster"),
        ],
    )
    def test_refusals(self, ran, words, status, text):
        shown = command(*words)
        assert (shown.returncode, shown.stdout) == (status, "")
        assert text in shown.stderr and "Traceback" not in shown.stderr


ENDING = """
import narke
context = narke.init(address="local", num_cpus=1, include_dashboard=False)

@narke.remote
def f(x):
    return x

narke.get([f.remote(i) for i in range(20)])
narke.get(f.options(name="last").remote(1))
print("session", context.address_info["session_dir"])
"""


def test_the_history_outlives_the_cluster(start):
    folder = start(ENDING).said("session")

    def finished():
        shown = command("history", folder, "--filter", "state=FINISHED", "--format", "json")
        return shown.returncode == 0 and json.loads(shown.stdout)

    found = wait_for(lambda: len(finished() or []) == 21 and finished(), what="the written history")
    assert sum(task["name"] == "last" for task in found) == 1
    assert "f" in command("history", folder, "--summary").stdout
